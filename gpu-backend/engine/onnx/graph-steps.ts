// The steps whose deltas lie in one scope: a prompt's chunk, a token of each of so many rows, several tokens of row 0.
// Knows no deltas. Invariant: what a step is bound to lives until `release`, but for a delta's tensors.
import { ofToken } from '../../model/tokens-in-turn.ts'
import { type Bound, bindDecodeStep, type DecodeStep, type DecodeStepOptions } from './decode-step.ts'
import type { ScopedSession, StepSessions } from './graph-sessions.ts'
import { VERIFY_TOKENS } from './graph-variants.ts'
import type { KvCache } from './kv-cache.ts'
import type { OnnxRuntime } from './ort.ts'

interface StepsOptions extends Pick<DecodeStepOptions, 'vocabSize' | 'results' | 'firstPosition'> {
  /** From how many rows on a batch is computed in halves, where there is a graph for them. */
  readonly halvesFrom: number
}

export class GraphSteps {
  /** A device keeps the delta's tensors from one chunk to the next. */
  readonly prefill: Bound
  /** Several tokens of row 0, where the graph can. */
  readonly verify: DecodeStep | undefined
  readonly #runtime: OnnxRuntime
  readonly #sessions: StepSessions
  readonly #kv: KvCache
  readonly #options: StepsOptions
  /** By rows. */
  readonly #decode = new Map<number, readonly DecodeStep[]>()

  constructor(runtime: OnnxRuntime, sessions: StepSessions, kv: KvCache, options: StepsOptions) {
    this.#runtime = runtime
    this.#sessions = sessions
    this.#kv = kv
    this.#options = options
    const { prompt, verify } = sessions
    this.prefill = { ...prompt, binding: prompt.session.createBinding(), rows: 1, deltas: undefined }
    if (verify) {
      const cache = kv.batch(0, 1)
      this.verify = bindDecodeStep(runtime, { ...options, ...verify, first: 0, rows: VERIFY_TOKENS, cache })
      for (const { present, value } of cache) {
        for (let i = 0; i < VERIFY_TOKENS - 1; i++) this.verify.binding.output(ofToken(present, i), value)
      }
    }
  }

  /** A token of each of so many `rows`: one step of all of them, or one of each half, to be run at once. */
  decode(rows: number): readonly DecodeStep[] {
    let parts = this.#decode.get(rows)
    if (!parts) {
      const { rows: whole, half } = this.#sessions
      const more = Math.ceil(rows / 2)
      parts =
        half && rows >= this.#options.halvesFrom
          ? [this.#bind(half, 0, more), this.#bind(half, more, rows - more)]
          : [this.#bind(whole, 0, rows)]
      this.#decode.set(rows, parts)
    }
    return parts
  }

  /** Must be called before a delta's memory goes: a binding that names its tensors is bound anew before its next run. */
  forgetDeltas(): void {
    this.prefill.deltas = undefined
    if (this.verify) this.verify.deltas = undefined
    for (const step of [...this.#decode.values()].flat()) step.deltas = undefined
  }

  /** Must be called when the batch's cache is of other tensors than before. */
  forgetCache(): void {
    for (const { binding } of [...this.#decode.values()].flat()) binding.release()
    this.#decode.clear()
  }

  release(): void {
    this.forgetCache()
    this.verify?.binding.release()
    this.prefill.binding.release()
  }

  #bind(session: ScopedSession, first: number, rows: number): DecodeStep {
    const cache = this.#kv.batch(first, rows)
    return bindDecodeStep(this.#runtime, { ...this.#options, ...session, first, rows, cache })
  }
}
