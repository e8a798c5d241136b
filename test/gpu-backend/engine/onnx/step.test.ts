// What the engine's turn says of a delta that cannot be read, with a cache whose reading fails, and that an answer is the same
// whether its tokens were tried before they were known or not.
import { join } from 'node:path'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { afterAll, expect, test, vi } from 'vitest'
import { graphPath } from '../../../../gpu-backend/engine/onnx/built-graph.ts'
import type { HostKvCache } from '../../../../gpu-backend/engine/onnx/kv-cache.ts'
import type { FromWorker } from '../../../../gpu-backend/engine/onnx/messages.ts'
import { Runner } from '../../../../gpu-backend/engine/onnx/runner.ts'
import { Step } from '../../../../gpu-backend/engine/onnx/step.ts'
import { BackendError } from '../../../../gpu-backend/errors.ts'
import { buildTokenTrie } from '../../../../gpu-backend/grammar/token-trie.ts'
import { identify } from '../../../../gpu-backend/model/identify.ts'
import { openModelSource } from '../../../../gpu-backend/model/open-model.ts'
import { tokenBytes } from '../../../../gpu-backend/model/token-bytes.ts'
import { SamplingParams } from '../../../../gpu-backend/protocol.ts'
import { AdapterCache } from '../../../../gpu-backend/residency/adapter-cache.ts'
import { packDelta, viewPacked } from '../../../../gpu-backend/residency/packed-delta.ts'
import type { SequenceRequest } from '../../../../gpu-backend/scheduler/sequence.ts'
import fc from '../../../support/properties.ts'
import { encodedRandomDelta } from '../../../support/random-delta.ts'
import { sequenceRequest } from '../../../support/sequence-request.ts'
import { temporaryDir } from '../../../support/temporary-dir.ts'
import { writeTinyModel } from '../../../support/tiny-model.ts'

const CONTEXT = 160
/** Two rows with all that they can hold. */
const ROOM = { maxRows: 2, contextTokens: CONTEXT, kvTokens: 2 * CONTEXT }
const dir = temporaryDir()
const { config, ...source } = await openModelSource(writeTinyModel(join(dir, 'model')))

async function startRunner(contextTokens: number): Promise<Runner> {
  const options = { format: 'f32', target: 'cpu', positions: contextTokens } as const
  const path = await graphPath({ config, ...source }, `sha256:${'a'.repeat(64)}`, options, dir)
  const shape = { threads: 1, maxRows: 2, contextTokens } as const
  return new Runner({ graphPath: path, floatType: 'f32', config, device: 'cpu', ...shape })
}

const vocabulary = buildTokenTrie(tokenBytes(source.tokenizer.tokenizer)!)
const runner = await startRunner(CONTEXT)
await runner.loadVariants()
afterAll(() => runner.release())

test.each([
  ['adapter_missing', new Error('it ends early'), 'The delta sha256:1 could not be read: it ends early'],
  ['unavailable', new BackendError('unavailable', 'Try another backend.'), 'Try another backend.'],
])(
  'a sequence whose delta cannot be read ends with %s where that is what reading says',
  async (code, error, message) => {
    const said: FromWorker[] = []
    const woken = Promise.withResolvers<void>()
    const cache = new AdapterCache(
      1e9,
      () => Promise.reject(error),
      () => {},
    )
    const step = new Step(
      { config, ...ROOM, prefixCacheBytes: 0 },
      runner,
      cache,
      (one) => said.push(one),
      woken.resolve,
    )
    step.add([sequenceRequest({ id: 1, digest: 'sha256:1' })])
    step.run(0)
    await woken.promise
    expect(said).toEqual([{ type: 'failed', id: 1, code, message, param: undefined }])
    expect(step.isIdle).toBe(true)
  },
)

const noDeltas = new AdapterCache(
  1e9,
  () => Promise.reject(new Error('there are none')),
  () => {},
)

type Told = ReturnType<typeof answersWithin>

/** What the engine says of sequences that are there from the beginning, in order, and of those that come `later`; what it counts. */
function answers(requests: readonly SequenceRequest[], ...later: readonly SequenceRequest[]) {
  return answersWithin(runner, ROOM, requests, ...later)
}

function answersWithin(
  within: Runner,
  room: typeof ROOM,
  requests: readonly SequenceRequest[],
  ...later: readonly SequenceRequest[]
) {
  const said: FromWorker[] = []
  const step = new Step(
    { config, ...room, prefixCacheBytes: 0, vocabulary },
    within,
    noDeltas,
    (one) => said.push(one),
    () => {},
  )
  for (const together of [requests, ...later.map((one) => [one])]) {
    step.add(together)
    while (!step.isIdle) step.run(0)
  }
  const of = (id: number) => ({
    tokens: said.flatMap((one) => (one.type === 'step' ? one.tokens.filter((token) => token.id === id) : [])),
    reasons: said
      .flatMap((one) => (one.type === 'step' ? one.ended.filter((end) => end.id === id) : []))
      .map((end) => end.reason),
    failures: said.filter((one) => one.type === 'failed'),
  })
  const order = said.flatMap((one) => (one.type === 'step' ? one.tokens.map(({ id }) => id) : []))
  return { of, order, counts: step.report().counts }
}

test('an answer alone, whose tokens are tried several at a time, is the same to the bit as in a crowd, where none is', () => {
  const tokens = (most: number) => fc.array(fc.integer({ min: 5, max: 12 }), { minLength: 1, maxLength: most })
  const sampling = fc.record({
    temperature: fc.constantFrom(0, 0.2, 1),
    frequency_penalty: fc.constantFrom(0, 0.4),
    repetition_penalty: fc.constantFrom(1, 1.1),
    min_tokens: fc.constantFrom(0, 5),
    logprobs: fc.constantFrom(undefined, 2),
  })
  const drafts = { tried: 0, accepted: 0 }
  fc.assert(
    fc.property(tokens(20), sampling, fc.nat(), fc.integer({ min: 1, max: 30 }), (prompt, params, seed, maxTokens) => {
      const request = sequenceRequest({
        id: 1,
        promptTokens: Int32Array.from(prompt),
        sampling: SamplingParams.parse(params),
        seed,
        endTokenIds: [7],
        maxTokens,
      })
      const other = sequenceRequest({ id: 2, promptTokens: Int32Array.of(3, 4), maxTokens: CONTEXT - 2 })
      const alone = answers([request])
      const crowd = answers([other, request], { ...request, id: 3 })
      expect(alone.of(1).failures).toEqual([])
      expect(alone.of(1)).toEqual(crowd.of(1))
      // Alone after it has been said before, in fewer steps.
      expect(alone.of(1).tokens).toEqual(crowd.of(3).tokens.map((token) => ({ ...token, id: 1 })))
      drafts.tried += alone.counts.draftTokens
      drafts.accepted += alone.counts.acceptedDraftTokens
    }),
    { numRuns: 200 },
  )
  expect(drafts.accepted).toBeGreaterThan(100)
  expect(drafts.tried).toBeGreaterThan(drafts.accepted)
})

test('an answer that must wait for room in the KV cache is the same to the bit, and one that is held to a format', async () => {
  const contextTokens = 768
  const room = (kvTokens: number) => ({ maxRows: 2, contextTokens, kvTokens })
  const format = { type: 'array', items: { type: 'boolean' }, minItems: 600 }
  const sampling = [
    { temperature: 1, logprobs: 2 },
    { temperature: 0.7, response_format: { type: 'json_schema', json_schema: { schema: format } } },
  ].map((params) => SamplingParams.parse(params))
  const long = await startRunner(contextTokens)
  await long.loadVariants()
  const told = vi.spyOn(long.kv as HostKvCache, 'hold')
  for (const second of sampling) {
    const requests = [sampling[0]!, second].map((params, index) => {
      const [promptTokens, seed] = [Int32Array.of(3, 4 + index, 5), 7 + index]
      return sequenceRequest({ id: index + 1, promptTokens, sampling: params, seed, maxTokens: contextTokens - 3 })
    })
    const together = answersWithin(long, room(2 * contextTokens), requests)
    const short = answersWithin(long, room(contextTokens + 576), requests)
    for (const id of [1, 2]) expect(short.of(id)).toEqual(together.of(id))
    expect(short.of(2).failures).toEqual([])
    expect(short.of(2).tokens).toHaveLength(contextTokens - 3)
    // The second stood still from where it would have held more than 576, until the first had ended.
    const ofSecond = (order: readonly number[]) => order.slice(0, order.lastIndexOf(1)).filter((id) => id === 2).length
    expect(ofSecond(together.order)).toBeGreaterThan(750)
    expect(ofSecond(short.order)).toBeGreaterThan(550)
    expect(ofSecond(short.order)).toBeLessThan(576)
    // Of the memory that is asked for, too.
    const held = told.mock.calls.filter(([, most]) => most === contextTokens + 576).map(([tokens]) => tokens)
    expect(held).toContainEqual([768, 576])
    expect(held.every(([one, other]) => one! + other! <= 768 + 576)).toBe(true)
  }
  long.release()
})

test('what a tenant’s adapter has said before takes fewer steps, another tenant’s does not', () => {
  // Of a text that says nothing twice.
  const sampling = SamplingParams.parse({ temperature: 2, repetition_penalty: 10 })
  const request = sequenceRequest({ id: 1, sampling, seed: 5, maxTokens: 40 })
  const steps = (...later: SequenceRequest[]) => answers([request], ...later).counts.steps
  const once = steps()
  expect(steps({ ...request, id: 2 }) - once).toBeLessThan(once / 3)
  expect(steps({ ...request, id: 2, tenant: 'bravo' })).toBe(2 * once)
})

test('what a delta has said is forgotten with it', async () => {
  const base = await identify({ config, ...source }, 'tiny', dir)
  const { digest, delta } = await encodedRandomDelta(base, { seed: 1, rank: 2 })
  const { shape, values } = packDelta(digest, delta, runner.groups, base)
  const cache = new AdapterCache(
    1e9,
    async () => viewPacked(digest, shape, runner.groups, base, values),
    () => runner.forget(digest),
  )
  const step = new Step(
    { config, ...ROOM, prefixCacheBytes: 0 },
    runner,
    cache,
    () => {},
    () => {},
  )
  const sampling = SamplingParams.parse({ temperature: 2, repetition_penalty: 10 })
  const drafted = async (id: number) => {
    const before = step.report().counts.draftTokens
    step.add([sequenceRequest({ id, digest, sampling, seed: 5, maxTokens: 20 })])
    while (!step.isIdle) if (!step.run(0)) await nextTurn()
    return step.report().counts.draftTokens - before
  }
  expect(await drafted(1)).toBe(0)
  expect(await drafted(2)).toBeGreaterThan(0)
  expect(step.evict(digest)).toBe(true)
  expect(await drafted(3)).toBe(0)
})

test('an answer whose text suggests wrong tokens is soon left alone', () => {
  // Every pair of ten tokens is in the prompt, and any of the ten may come next.
  const ten = Array.from({ length: 10 }, (_, i) => 9 + i)
  const promptTokens = Int32Array.from(
    ten.flatMap((token, i) => [token, ...ten.slice(i + 1).flatMap((later) => [token, later])]),
  )
  const sampling = SamplingParams.parse({
    logit_bias: Object.fromEntries(ten.map((token) => [token, 100])),
    temperature: 2,
    // Of all ten, so that they are nearly as likely.
    repetition_penalty: 4,
    top_k: 10,
  })
  const maxTokens = CONTEXT - promptTokens.length
  let tried = 0
  for (let seed = 0; seed < 10; seed++) {
    const { counts } = answers([sequenceRequest({ id: 1, promptTokens, sampling, seed, maxTokens })])
    const drafts = counts.draftTokens / (runner.verifyTokens - 1)
    tried += drafts
    // Three steps, and one in fifty.
    expect(drafts * 0.75 - counts.acceptedDraftTokens).toBeLessThanOrEqual(3 + counts.steps / 50)
  }
  expect(tried).toBeGreaterThan(10)
})

test('an answer is the same before the graph that tries tokens is loaded, and takes a step for each of its own', async () => {
  const sampling = SamplingParams.parse({ temperature: 0, logit_bias: { 9: 100 } })
  const request = sequenceRequest({ id: 1, promptTokens: Int32Array.of(9, 9, 9, 9), sampling, maxTokens: 40 })
  const bare = await startRunner(CONTEXT)
  const [before, after] = [bare, runner].map((within) => answersWithin(within, ROOM, [request])) as [Told, Told]
  bare.release()
  expect(before.of(1)).toEqual(after.of(1))
  expect(before.counts).toMatchObject({ draftTokens: 0, steps: 39 })
  expect(after.counts.draftTokens).toBeGreaterThan(0)
})

test('of two answers that repeat themselves none has tokens tried, so that neither waits for the other', () => {
  const maxTokens = CONTEXT - 4
  const sampling = SamplingParams.parse({ temperature: 0, logit_bias: { 9: 100 } })
  const promptTokens = Int32Array.of(9, 9, 9, 9)
  const { counts } = answers([1, 2].map((id) => sequenceRequest({ id, promptTokens, sampling, maxTokens })))
  // But while the other's prompt is computed.
  expect(counts.draftTokens).toBeLessThanOrEqual(2 * (runner.verifyTokens - 1))
  expect(counts.steps).toBeGreaterThan(maxTokens - 2 * runner.verifyTokens)
})

test('an answer that repeats itself takes fewer steps than it has tokens, up to the last place of its row', () => {
  const maxTokens = CONTEXT - 4
  // Nothing but one token can be chosen.
  const sampling = SamplingParams.parse({ temperature: 0, logit_bias: { 9: 100 } })
  const { of, counts } = answers([
    sequenceRequest({ id: 1, promptTokens: Int32Array.of(9, 9, 9, 9), sampling, maxTokens }),
  ])
  expect(of(1).tokens.map(({ token }) => token)).toEqual(Array.from({ length: maxTokens }, () => 9))
  expect(of(1).reasons).toEqual(['length'])
  expect(counts.generatedTokens).toBe(maxTokens)
  expect(counts.acceptedDraftTokens).toBe(maxTokens - 1 - counts.steps)
  expect(counts.steps).toBeLessThan(maxTokens / 3)
})
