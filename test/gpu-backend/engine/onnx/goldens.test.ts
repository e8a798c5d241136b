// The maths of every sample adapter against the system that made it (PEFT, loralib, alpaca-lora's old PEFT,
// mistral-finetune), computed in float32 by scripts/golden: all in one batch, each row with its own delta.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { parseHeader } from '../../../../adapters/safetensors.ts'
import type { ChatMessage } from '../../../../gpu-backend/protocol.ts'
import type { PackedDelta } from '../../../../gpu-backend/residency/packed-delta.ts'
import { type EmbeddedRunner, embeddedRunner } from '../../../support/embedded-runner.ts'
import { type SampleAdapter, sampleAdapters } from '../../../support/sample-adapters.ts'
import { temporaryDir } from '../../../support/temporary-dir.ts'

const GOLDEN = join(import.meta.dirname, '../../../golden')
const END_OF_TURN = 2
const TOLERANCE = 1e-3

interface Golden {
  readonly name: string
  readonly tenant: string
  readonly messages: ChatMessage[]
  readonly prompt: string
  readonly promptIds: readonly number[]
  /** Of the position after the prompt: [vocab]. */
  readonly logits: readonly number[]
  readonly greedyIds: readonly number[]
}

const cacheDir = temporaryDir()
const goldens = readGoldens()
let embedded: EmbeddedRunner
let samples: SampleAdapter[]
let deltas: Map<string, PackedDelta>

beforeAll(async () => {
  embedded = await embeddedRunner(cacheDir, goldens.length)
  samples = await sampleAdapters(embedded.base)
  deltas = new Map(samples.map((sample) => [sample.tenant, embedded.pack(sample)]))
})
afterAll(() => embedded.release())

const deltaOf = ({ tenant }: Golden) => deltas.get(tenant) ?? null

test('goldens are there for the base and for every sample adapter', () => {
  const tenants = new Set(goldens.map(({ tenant }) => tenant))
  expect(tenants).toEqual(new Set(['base', ...samples.map(({ tenant }) => tenant)]))
})

test.each(goldens)(
  "$name: the conversation becomes the prompt that the maker's own code makes of it",
  async (golden) => {
    const template = samples.find(({ tenant }) => tenant === golden.tenant)?.delta.metadata.chatTemplate
    const text = await embedded.renderChat(golden.messages, template)
    expect(text).toBe(golden.prompt)
    expect(Array.from(embedded.tokenizer.encodeRendered(text))).toEqual(golden.promptIds)
  },
)

test.each(goldens)('$name: the logits of a whole prompt are those of the system that made the adapter', (golden) => {
  const last = golden.promptIds.length - 1
  const { logits } = embedded.runner.prefill(0, golden.promptIds, 0, deltaOf(golden), [last])
  expect(relativeDifference(logits, golden.logits)).toBeLessThan(TOLERANCE)
})

test('the logits of all cases in one batch, each row with its own delta, are those of the systems that made them', () => {
  const { runner, base } = embedded
  for (const [row, golden] of goldens.entries()) {
    runner.prefill(row, golden.promptIds.slice(0, -1), 0, deltaOf(golden), [golden.promptIds.length - 2])
  }
  const rows = goldens.map((golden) => ({
    token: golden.promptIds.at(-1)!,
    past: golden.promptIds.length - 1,
    delta: deltaOf(golden),
  }))
  const { logits } = runner.decode(rows)
  for (const [row, golden] of goldens.entries()) {
    const own = logits.subarray(row * base.vocab_size, (row + 1) * base.vocab_size)
    expect(relativeDifference(own, golden.logits), golden.name).toBeLessThan(TOLERANCE)
  }
})

test('the greedy answers of all cases in one batch are those of the systems that made the adapters', () => {
  const { runner, base } = embedded
  const outputs = goldens.map((golden, row) => {
    const { logits } = runner.prefill(row, golden.promptIds, 0, deltaOf(golden), [golden.promptIds.length - 1])
    return [argmax(logits)]
  })
  const longest = Math.max(...goldens.map(({ greedyIds }) => greedyIds.length))
  // Rows that have ended go on, unread: every step has all of them.
  for (let step = 1; step < longest; step++) {
    const rows = goldens.map((golden, row) => ({
      token: outputs[row]!.at(-1)!,
      past: golden.promptIds.length + step - 1,
      delta: deltaOf(golden),
    }))
    const { logits } = runner.decode(rows)
    for (const [row, output] of outputs.entries()) {
      output.push(argmax(logits.subarray(row * base.vocab_size, (row + 1) * base.vocab_size)))
    }
  }
  for (const [row, { name, greedyIds }] of goldens.entries()) {
    const end = outputs[row]!.indexOf(END_OF_TURN)
    const answer = outputs[row]!.slice(0, end < 0 ? greedyIds.length : end + 1)
    expect(answer.slice(0, greedyIds.length), name).toEqual(greedyIds)
  }
})

/** Largest difference, in terms of the largest value. */
function relativeDifference(actual: Float32Array, wanted: readonly number[]): number {
  expect(actual).toHaveLength(wanted.length)
  const size = wanted.reduce((largest, value) => Math.max(largest, Math.abs(value)), 0)
  return wanted.reduce((worst, value, i) => Math.max(worst, Math.abs(actual[i]! - value)), 0) / size
}

function argmax(values: Float32Array): number {
  return values.reduce((best, value, i) => (value > values[best]! ? i : best), 0)
}

function readGoldens(): Golden[] {
  const bytes = new Uint8Array(readFileSync(join(GOLDEN, 'logits.safetensors')))
  const { entries } = parseHeader(bytes, bytes.length, 'logits.safetensors')
  const values = (name: string) => {
    const entry = entries.find((one) => one.name === name)
    if (!entry) throw new Error(`logits.safetensors has no ${name}: make the goldens again.`)
    const { buffer } = bytes.slice(entry.start, entry.end)
    return Array.from(entry.dtype === 'I32' ? new Int32Array(buffer) : new Float32Array(buffer))
  }
  const cases: Record<string, Pick<Golden, 'tenant' | 'messages' | 'prompt'>> = JSON.parse(
    readFileSync(join(GOLDEN, 'cases.json'), 'utf8'),
  )
  return Object.entries(cases).map(([name, { tenant, messages, prompt }]) => ({
    name,
    tenant,
    messages,
    prompt,
    promptIds: values(`${name}.prompt_ids`),
    logits: values(`${name}.logits`),
    greedyIds: values(`${name}.greedy_ids`),
  }))
}
