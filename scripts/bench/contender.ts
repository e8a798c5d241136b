// What the benchmark compares: things that generate tokens for several streams with or without adapters.
import * as z from 'zod/mini'
import { LineProcess } from './line-process.ts'
import type { Timing } from './timing.ts'

export const MODES = ['bare base', 'one shared', 'all different'] as const
export type Mode = (typeof MODES)[number]

/** The same prompt for those that take text and those that take tokens. */
export interface Prompt {
  readonly text: string
  /** As the model's chat template makes it. */
  readonly ids: readonly number[]
}

export interface Load {
  /** By stream: the index of its adapter, or null for the bare base. */
  readonly adapters: readonly (number | null)[]
  readonly prompt: Prompt
  readonly tokens: number
}

export interface Contender {
  readonly name: string
  /** Numbers of streams that it is asked for: a slow one not for all. */
  readonly streams: readonly number[]
  /** Whether it computes one prompt after another while others decode: streams must last until the last has begun. */
  readonly promptsInTurn?: boolean
  generate(load: Load): Promise<readonly Timing[]>
  stop(): Promise<void>
}

/** Adapter of each stream: its index, or null for the bare base. */
export function adaptersOf(mode: Mode, streams: number): (number | null)[] {
  return Array.from({ length: streams }, (_, i) => (mode === 'bare base' ? null : mode === 'one shared' ? 0 : i))
}

const Answer = z.object({ sentMs: z.number(), tokenTimesMs: z.array(z.array(z.number())) })

/** A process of its own that takes `{adapters, prompt, tokens}` as a line and answers with the times of its tokens. */
export async function processContender(
  description: Pick<Contender, 'name' | 'streams' | 'promptsInTurn'>,
  command: readonly [string, ...string[]],
  env: Record<string, string> = {},
): Promise<Contender> {
  const [program, ...args] = command
  const child = await LineProcess.start(program, args, env)
  return {
    ...description,
    async generate({ adapters, prompt, tokens }) {
      const { sentMs, tokenTimesMs } = Answer.parse(await child.ask({ adapters, prompt: prompt.ids, tokens }))
      return tokenTimesMs.map((times) => ({ sentMs, tokenTimesMs: times }))
    },
    stop: () => child.stop(),
  }
}
