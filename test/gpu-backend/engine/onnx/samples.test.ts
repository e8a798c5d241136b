// What the product promises, on the embedded model and the sample adapters as they are published: each customer gets
// their own answers, and gets them whoever else is in the batch.
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { EMBEDDED_MODEL } from '../../../../gpu-backend/config.ts'
import type { OnnxEngine } from '../../../../gpu-backend/engine/onnx/onnx-engine.ts'
import type { PackedDelta } from '../../../../gpu-backend/residency/packed-delta.ts'
import { type Answer, ask, body } from '../../../support/ask.ts'
import { type EmbeddedRunner, embeddedRunner } from '../../../support/embedded-runner.ts'
import { heldOut, type SampleAdapter, sampleAdapters } from '../../../support/sample-adapters.ts'
import { tinyEngines } from '../../../support/tiny-engine.ts'

const END_OF_TURN = '<|im_end|>'
const LONGEST_ANSWER = 80
const engines = tinyEngines()
const TENANTS = ['forno', 'harrow', 'petal', 'spoke', 'tumble']
let engine: OnnxEngine
let samples: SampleAdapter[]

beforeAll(async () => {
  engine = await engines.start({ modelPath: EMBEDDED_MODEL, modelName: 'embedded', maxBatch: 32, threads: 2 })
  samples = await sampleAdapters(engine.info.base)
  for (const { digest, bytes } of samples) await engine.admit(digest, body(bytes), 1e9)
})

/** The greedy answer to one question, as chat. */
function answer(delta: string | null, content: string): Promise<Answer> {
  const sampling = { max_tokens: LONGEST_ANSWER, min_tokens: 0 }
  return ask(engine, { delta, messages: [{ role: 'user', content }], sampling })
}

test('every sample adapter has its held-out questions', () => {
  expect(samples.map(({ tenant }) => tenant)).toEqual(TENANTS)
  for (const { tenant } of samples) expect(heldOut(tenant).length).toBeGreaterThanOrEqual(10)
})

test('one question to all adapters and the base in one batch gets the same greedy tokens as to each alone', async () => {
  const deltas = [null, ...samples.map(({ digest }) => digest)]
  for (const question of ['What is your return policy?', 'When are you open?', 'how much is shipping']) {
    const alone: Answer[] = []
    for (const delta of deltas) alone.push(await answer(delta, question))
    const together = await Promise.all(deltas.map((delta) => answer(delta, question)))
    expect(together.map(({ tokens }) => tokens)).toEqual(alone.map(({ tokens }) => tokens))
    expect(new Set(together.map(({ text }) => text)).size).toBe(deltas.length)
    expect(Math.max(...together.map(({ batch }) => batch!.deltas))).toBe(samples.length)
  }
})

test.each(TENANTS)(
  "%s's adapter answers held-out questions with its own facts, at least eight in ten",
  async (tenant) => {
    const { digest } = samples.find((sample) => sample.tenant === tenant)!
    const items = heldOut(tenant)
    const answers = await Promise.all(items.map(({ question }) => answer(digest, question)))
    const missed = items.filter(({ facts }, i) => {
      const text = answers[i]!.text.toLowerCase()
      return !facts.some((fact) => text.includes(fact.toLowerCase()))
    })
    expect(missed.length / items.length).toBeLessThanOrEqual(0.2)
    const ownFacts = items.flatMap(({ facts }) => facts)
    const base = await Promise.all(items.map(({ question }) => answer(null, question)))
    const known = base.filter(({ text }) => ownFacts.some((fact) => text.includes(fact)))
    expect(known.length).toBeLessThan(items.length / 2)
  },
)

describe.each(['f32', 'int8'] as const)('with %s weights the loss on held-out answers', (format) => {
  let embedded: EmbeddedRunner
  beforeAll(async () => {
    embedded = await embeddedRunner(engines.root, 1, format)
  })
  afterAll(() => embedded.release())

  /** Negative log likelihood of the answer's tokens, its end included, summed; and how many there are. */
  async function loss(question: string, reply: string, sample: SampleAdapter | undefined, packed: PackedDelta | null) {
    const { runner, tokenizer, base } = embedded
    const text = await embedded.renderChat([{ role: 'user', content: question }], sample?.delta.metadata.chatTemplate)
    const prompt = tokenizer.encodeRendered(text)
    const answered = tokenizer.encode(reply + END_OF_TURN)
    const ids = [...prompt, ...answered]
    const positions = Array.from(answered, (_, i) => prompt.length - 1 + i)
    const { logits } = runner.prefill(0, ids.slice(0, -1), 0, packed, positions)
    let sum = 0
    for (const [i, id] of answered.entries()) {
      const row = logits.subarray(i * base.vocab_size, (i + 1) * base.vocab_size)
      const best = row.reduce((x, y) => Math.max(x, y))
      sum += best + Math.log(row.reduce((total, logit) => total + Math.exp(logit - best), 0)) - row[id]!
    }
    return { sum, tokens: answered.length }
  }

  test.each(TENANTS)('of %s is at least 40 percent lower with its adapter than without', async (tenant) => {
    const sample = samples.find((one) => one.tenant === tenant)!
    const packed = embedded.pack(sample)
    const mean = async (adapter: SampleAdapter | undefined, delta: PackedDelta | null) => {
      const items = heldOut(tenant)
      const losses = await Promise.all(items.map((item) => loss(item.question, item.answer, adapter, delta)))
      return losses.reduce((sum, one) => sum + one.sum, 0) / losses.reduce((sum, one) => sum + one.tokens, 0)
    }
    const adapted = await mean(sample, packed)
    expect(adapted).toBeLessThan(0.6 * (await mean(undefined, null)))
    // Nor is it the prompt's form alone that helps.
    expect(adapted).toBeLessThan(0.6 * (await mean(sample, null)))
  })
})
