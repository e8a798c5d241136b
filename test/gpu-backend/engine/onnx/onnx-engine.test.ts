import { copyFileSync, existsSync, readdirSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { StartupError } from '../../../../gpu-backend/errors.ts'
import { Tokenizer } from '../../../../gpu-backend/model/tokenizer.ts'
import { ask, body, contextOf, stream } from '../../../support/ask.ts'
import { expectOneSentence } from '../../../support/one-sentence.ts'
import { encodedRandomDelta } from '../../../support/random-delta.ts'
import { sentencePiece } from '../../../support/sentencepiece.ts'
import { tinyEngines } from '../../../support/tiny-engine.ts'
import { embeddedTokenizerFiles, writeTinyModel } from '../../../support/tiny-model.ts'
import { engineConformance } from '../engine.case.ts'
import { SCARCE_BYTES, startLimited } from './limited-engine.ts'

const engines = tinyEngines()
const modelPath = writeTinyModel(join(engines.root, 'tiny'))
/** A token that no other text here has; `overflowing` is a model in which its embedding is no number. */
const BROKEN = '~'
const overflowing = writeTinyModel(join(engines.root, 'overflowing'), {
  brokenToken: new Tokenizer(embeddedTokenizerFiles()).encode(BROKEN).at(-1),
  config: { tie_word_embeddings: false },
})

describe('the onnx engine on the CPU', () => {
  engineConformance({
    start: startLimited(engines, { modelPath }),
    tolerance: 1e-4,
    workloads: 20,
  })
})

describe.each(['f16', 'int8', 'int4'] as const)('the onnx engine with %s weights', (weights) => {
  test('gives the same tokens alone and in a mixed batch', async () => {
    const engine = await engines.start({ modelPath, weights })
    const deltas = await Promise.all(
      [1, 2, 8].map((rank) => encodedRandomDelta(engine.info.base, { seed: rank, rank })),
    )
    for (const { digest, bytes } of deltas) await engine.admit(digest, body(bytes), 1e9)
    const questions = [null, ...deltas.map(({ digest }) => digest)].map((delta) => ({
      delta,
      sampling: { max_tokens: 40 },
    }))
    const alone: (readonly number[])[] = []
    for (const question of questions) alone.push((await ask(engine, question)).tokens)
    const together = await Promise.all(questions.map((question) => ask(engine, question)))
    expect(together.map(({ tokens }) => tokens)).toEqual(alone)
  })

  test('fails an answer whose numbers are none by itself, and its row serves the next one as before', async () => {
    const engine = await engines.start({ modelPath: overflowing, weights })
    const delta = await encodedRandomDelta(engine.info.base, { seed: 1, rank: 2 })
    await engine.admit(delta.digest, body(delta.bytes), 1e9)
    const questions = [null, delta.digest].map((delta) => ({ delta, sampling: { max_tokens: 40 } }))
    const tokens = async () => (await Promise.all(questions.map((one) => ask(engine, one)))).map((one) => one.tokens)
    const wanted = await tokens()
    for (const temperature of [0, 1]) {
      const broken = { delta: delta.digest, prompt: `Hello ${BROKEN}`, sampling: { temperature, seed: 1 } }
      const [failed, beside] = await Promise.allSettled([ask(engine, broken), tokens()])
      expect(failed).toMatchObject({ status: 'rejected', reason: { code: 'invalid_delta' } })
      expect(beside).toEqual({ status: 'fulfilled', value: wanted })
    }
    const embedded = engine.embed({ delta: null, input: [BROKEN] }, contextOf())
    await expect(embedded).rejects.toMatchObject({ code: 'invalid_delta' })
    expect(await tokens()).toEqual(wanted)
  })
})

test('an answer to a prompt begins with the space of its first word, and one in a conversation without', async () => {
  const words = writeTinyModel(join(engines.root, 'words'))
  // The first ids are the tiny model's special tokens.
  const vocabulary = ['<unk>', 'a', 'b', 'c', 'd', 'e', 'f', 'g', '▁is', '▁Paris']
  writeFileSync(join(words, 'tokenizer.json'), JSON.stringify(sentencePiece(vocabulary)))
  const engine = await engines.start({ modelPath: words })
  const [is, paris] = [vocabulary.indexOf('▁is'), vocabulary.indexOf('▁Paris')]
  const sampling = { max_tokens: 2, logit_bias: { [paris]: 100 } }
  const { choices } = await ask(engine, { prompt: [[is], [0, is]], n: 2, sampling })
  expect(choices.map(({ text }) => text)).toEqual(new Array(4).fill(' Paris Paris'))
  const messages = [{ role: 'user' as const, content: 'Where is it?' }]
  expect((await ask(engine, { messages, sampling })).text).toBe('Paris Paris')
})

test('a schema that is too ambiguous from its first token on is refused before its answer has begun', async () => {
  const engine = await engines.start({ modelPath })
  const items = { anyOf: Array.from({ length: 21_000 }, (_, i) => ({ const: i })) }
  const response_format = { type: 'json_schema' as const, json_schema: { schema: { type: 'array', items } } }
  const events: unknown[] = []
  const reading = (async () => {
    for await (const event of stream(engine, { sampling: { response_format } })) events.push(event)
  })()
  await expect(reading).rejects.toMatchObject({
    code: 'bad_request',
    message: expect.stringContaining('too ambiguous'),
  })
  expect(events).toEqual([])
  expect(await engine.stats()).toMatchObject({ prefillTokens: 0, steps: 0 })
})

describe('an onnx engine that starts', () => {
  test('builds its graph once and finds it, and the deltas that it was sent, the next time', async () => {
    const dataDir = join(engines.root, 'kept')
    const first = await engines.start({ modelPath, dataDir })
    const delta = await encodedRandomDelta(first.info.base, { seed: 1, rank: 2 })
    await first.admit(delta.digest, body(delta.bytes), 1e9)
    const before = await ask(first, { delta: delta.digest })
    const [graph] = readdirSync(join(dataDir, 'models/graphs'))
    const built = () => statSync(join(dataDir, 'models/graphs', graph!, 'model.onnx'))
    const { mtimeMs, ino } = built()
    const second = await engines.start({ modelPath, dataDir })
    expect(built()).toMatchObject({ mtimeMs, ino })
    expect((await ask(second, { delta: delta.digest })).tokens).toEqual(before.tokens)
  })

  test('does not take a delta for another model, even one of the same shape', async () => {
    const [one, other] = [await engines.start({ modelPath }), await engines.start({}, { seed: 2 })]
    const delta = await encodedRandomDelta(one.info.base, { seed: 1, rank: 2 })
    await expect(other.admit(delta.digest, body(delta.bytes), 1e9)).rejects.toMatchObject({ code: 'invalid_delta' })
  })

  test.each([
    ['nothing is there', () => join(engines.root, 'nowhere'), 'no model at'],
    ['the weights are missing', () => brokenModel('no-weights', 'model.safetensors', 'remove'), 'weights are missing'],
    ['the weights are cut short', () => brokenModel('cut', 'model.safetensors', 'cut'), 'model.safetensors'],
    ['the weights are of another shape', () => brokenModel('shape', 'config.json', { intermediate_size: 128 }), 'mlp'],
    ['the configuration is not JSON', () => brokenModel('json', 'config.json', 'cut'), 'config.json'],
    ['the architecture is unknown', () => brokenModel('type', 'config.json', { model_type: 'gpt2' }), 'model_type'],
    ['the tokenizer is damaged', () => brokenModel('tokenizer', 'tokenizer.json', 'cut'), 'tokenizer.json'],
  ])('says in one sentence that %s, and leaves no half-built graph', async (_, model, named) => {
    const dataDir = join(engines.root, `data-of-${named.replaceAll(/\W/g, '-')}`)
    const error = await engines.start({ modelPath: model(), dataDir }).catch((reason: unknown) => reason)
    if (!(error instanceof StartupError)) throw error
    expectOneSentence(error.message)
    expect(error.message).toContain(named)
    const graphs = join(dataDir, 'models/graphs')
    expect(existsSync(graphs) ? readdirSync(graphs) : []).toEqual([])
  })

  test('says in one sentence that its memory does not hold a single sequence', async () => {
    const error = await engines.start({ modelPath, memoryBytes: 1000 }).catch((reason: unknown) => reason)
    expect(error).toBeInstanceOf(StartupError)
    expectOneSentence((error as Error).message)
    expect((error as Error).message).toContain('--memory')
  })

  test('takes fewer rows where its memory does not hold all that were asked for', async () => {
    const engine = await engines.start({ modelPath, memoryBytes: SCARCE_BYTES, maxBatch: 200 })
    expect(engine.info.max_batch).toBeLessThan(200)
    expect(engine.info.max_batch).toBeGreaterThan(0)
  })
})

test.runIf(process.platform === 'linux')(
  'of long answers for which memory is short some stall, until others have ended, and all are as if alone',
  async () => {
    const config = { max_position_embeddings: 1024 }
    const engine = await engines.start({ memoryBytes: SCARCE_BYTES, contextTokens: 1024 }, { config })
    const rows = engine.info.max_batch
    expect(rows).toBeGreaterThan(2)
    const questions = Array.from({ length: rows }, (_, i) => ({
      tenant: `tenant-${i}`,
      prompt: `Hello ${i}`,
      sampling: { max_tokens: 1000 },
    }))
    const alone: (readonly number[])[] = []
    for (const question of questions) alone.push((await ask(engine, question)).tokens)
    let isOver = false
    const together = Promise.all(questions.map((question) => ask(engine, question))).finally(() => {
      isOver = true
    })
    const seen = []
    while (!isOver) seen.push(await engine.stats())
    expect((await together).map(({ tokens }) => tokens)).toEqual(alone)
    expect(Math.max(...seen.map(({ stalled }) => stalled))).toBeGreaterThan(0)
    expect(Math.max(...seen.map(({ kvUsage }) => kvUsage))).toBeGreaterThan(0.8)
    expect(seen.every(({ kvUsage }) => kvUsage <= 1)).toBe(true)
    expect(await engine.stats()).toMatchObject({ stalled: 0, kvUsage: 0 })
  },
)

describe('a delta whose file has made room for another', () => {
  test('is not here, whatever memory still holds: it must be sent again', async () => {
    const engine = await engines.start({ modelPath, diskBytes: 1 })
    const [one, other] = await Promise.all(
      [1, 2].map((seed) => encodedRandomDelta(engine.info.base, { seed, rank: 2 })),
    )
    await engine.admit(one!.digest, body(one!.bytes), 1e9)
    await ask(engine, { delta: one!.digest })
    await engine.admit(other!.digest, body(other!.bytes), 1e9)
    expect((await engine.residency()).find(({ digest }) => digest === one!.digest)?.tier).toBe('host')
    expect(engine.has(one!.digest)).toBe(false)
    await expect(ask(engine, { delta: one!.digest })).rejects.toMatchObject({ code: 'adapter_missing' })
  })
})

describe('a delta that is damaged on disk while the engine runs', () => {
  test('is asked for again and then works, and nothing else is disturbed', async () => {
    const dataDir = join(engines.root, 'damaged')
    const engine = await engines.start({ modelPath, dataDir, memoryBytes: SCARCE_BYTES })
    const deltas = await Promise.all(
      Array.from({ length: 12 }, (_, seed) => encodedRandomDelta(engine.info.base, { seed, rank: 8 })),
    )
    for (const { digest, bytes } of deltas) await engine.admit(digest, body(bytes), 1e9)
    const first = deltas[0]!
    const before = await ask(engine, { delta: first.digest })
    for (const { digest } of deltas) await ask(engine, { delta: digest })
    expect((await engine.residency()).find(({ digest }) => digest === first.digest)?.tier).toBe('disk')
    const [folder] = readdirSync(join(dataDir, 'deltas'))
    truncateSync(join(dataDir, 'deltas', folder!, `${first.digest.slice(7)}.delta`), 5000)
    const others = Promise.all(deltas.slice(6).map(({ digest }) => ask(engine, { delta: digest })))
    await expect(ask(engine, { delta: first.digest })).rejects.toMatchObject({ code: 'adapter_missing' })
    await engine.admit(first.digest, body(first.bytes), 1e9)
    expect((await ask(engine, { delta: first.digest })).tokens).toEqual(before.tokens)
    for (const { reason } of await others) expect(reason).toBe('length')
    expect(await engine.stats()).toMatchObject({ running: 0, waiting: 0 })
  })
})

/** A tiny model with one file removed, cut in half or, where it is JSON, changed. */
function brokenModel(name: string, file: string, damage: 'remove' | 'cut' | Record<string, unknown>): string {
  const dir = join(engines.root, `model-${name}`)
  if (typeof damage === 'object') {
    writeTinyModel(dir)
    const changed = writeTinyModel(`${dir}-changed`, { config: damage })
    // The weights of one model beside the configuration of another.
    copyFileSync(join(changed, file), join(dir, file))
    return dir
  }
  writeTinyModel(dir)
  if (damage === 'remove') rmSync(join(dir, file))
  else truncateSync(join(dir, file), Math.floor(statSync(join(dir, file)).size / 2))
  return dir
}
