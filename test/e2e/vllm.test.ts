// The whole product on vLLM: `npm start`, its edge in workerd, its backend before two vLLM servers, one of which dies.
import { join } from 'node:path'
import OpenAI from 'openai'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import * as z from 'zod/mini'
import { EMBEDDED_MODEL } from '../../gpu-backend/config.ts'
import type { Engine } from '../../gpu-backend/engine/engine.ts'
import { ask as askEngine, body } from '../support/ask.ts'
import { type ListeningVllm, startListeningVllm } from '../support/listening-vllm.ts'
import { type SampleAdapter, sampleAdapters } from '../support/sample-adapters.ts'
import { type StartedProduct, startProduct } from '../support/started-product.ts'
import { temporaryDir } from '../support/temporary-dir.ts'
import { tinyEngines } from '../support/tiny-engine.ts'
import { QUICK_START, SERVER, tryFindVllm } from '../support/vllm-server.ts'

const vllm = tryFindVllm()
/** Two servers in Python start at once on two cores. */
const START_MS = 600_000
const SLOW_MS = 120_000
/** Sequences on one server. */
const ROWS = 2
const ANSWER_TOKENS = 40
const CONTEXT_TOKENS = 1024
const QUESTION = [{ role: 'user' as const, content: 'What is your return policy?' }]
const BASE = 'polylora-base'
const Answer = z.object({ polylora: z.object({ adapter: z.string() }) })

describe.skipIf(vllm === undefined)('npm start before two vLLM servers', { timeout: SLOW_MS }, () => {
  const onnxEngines = tinyEngines()
  const state = join(temporaryDir(), 'state')
  let servers: ListeningVllm[]
  let product: StartedProduct
  let samples: SampleAdapter[]
  /** What the onnx engine answers in f32, by the model's name at the edge. */
  const expected = new Map<string, string>()

  const client = (tenant: string) =>
    new OpenAI({ apiKey: `dev-${tenant}`, baseURL: `${product.url}/v1`, maxRetries: 0 })
  const models = () => [BASE, ...samples.map(({ tenant }) => `${tenant}/support`)]
  const tenantOf = (model: string) => (model === BASE ? 'demo' : model.split('/')[0]!)
  const ask = (model: string) =>
    client(tenantOf(model)).chat.completions.create({
      model,
      messages: QUESTION,
      temperature: 0,
      max_tokens: ANSWER_TOKENS,
    })
  const answer = async (model: string) => (await ask(model)).choices[0]?.message.content
  /** The digest that the model's name stands for, as answers tell it. */
  const digestOf = async (model: string) => Answer.parse(await ask(model)).polylora.adapter
  const metrics = async () => (await fetch(`${product.backendUrl}/metrics`)).text()
  const figure = async (name: string) => Number(new RegExp(`^${name} (.*)$`, 'm').exec(await metrics())?.[1])

  beforeAll(async () => {
    const onnx: Engine = await onnxEngines.start({ modelPath: EMBEDDED_MODEL, contextTokens: CONTEXT_TOKENS })
    samples = await sampleAdapters(onnx.info.base)
    const sampling = { max_tokens: ANSWER_TOKENS, min_tokens: 0 }
    expected.set(BASE, (await askEngine(onnx, { messages: QUESTION, sampling })).text)
    for (const { tenant, digest, bytes } of samples) {
      await onnx.admit(digest, body(bytes), 1e9)
      expected.set(`${tenant}/support`, (await askEngine(onnx, { delta: digest, messages: QUESTION, sampling })).text)
    }
    const options = { ...SERVER, modelPath: EMBEDDED_MODEL, contextTokens: CONTEXT_TOKENS, dtype: 'float32' }
    servers = await Promise.all(
      [0, 1].map(() =>
        startListeningVllm(vllm!, {
          ...options,
          maxLoras: SERVER.maxLoras + 1,
          kvCacheBytes: 256e6,
          more: QUICK_START,
        }),
      ),
    )
    const backend = [
      ...servers.flatMap(({ url }) => ['--vllm-url', url]),
      ...['--max-batch', String(ROWS), '--context', String(CONTEXT_TOKENS)],
      ...['--max-loras', String(SERVER.maxLoras), '--max-rank', String(SERVER.maxRank)],
    ]
    product = await startProduct(state, ['--engine', 'vllm', '--no-demo', '--', ...backend])
    await vi.waitFor(
      async () => {
        const text = await metrics()
        const unused = servers.filter(({ url }) => !text.includes(`replica="${new URL(url).host}"`))
        expect(unused, [product.output(), ...unused.map((server) => server.output())].join('\n')).toEqual([])
      },
      { timeout: SLOW_MS, interval: 200 },
    )
  }, START_MS)
  afterAll(() => product?.stop())

  test('answers as the onnx engine does, for the base and every sample adapter', async () => {
    const answers = new Map<string, string | null | undefined>()
    for (const model of models()) answers.set(model, await answer(model))
    expect(answers).toEqual(expected)
    expect(new Set(expected.values()).size).toBe(expected.size)
  })

  test('has each adapter on one of the servers, and on both once one is not enough for it', async () => {
    const loaded = () => Promise.all(servers.map((server) => server.adapters()))
    const digests: string[] = []
    for (const model of models().slice(1)) digests.push(await digestOf(model))
    const before = await loaded()
    for (const digest of digests) expect(before.filter((names) => names.includes(digest))).toHaveLength(1)
    const model = models()[1]!
    const answers = await Promise.all(Array.from({ length: 2 * ROWS }, () => answer(model)))
    expect(new Set(answers)).toEqual(new Set([expected.get(model)]))
    for (const names of await loaded()) expect(names).toContain(digests[0])
  })

  test('goes on when one dies in traffic: what has begun there fails, everything else is answered as ever', async () => {
    const long = { model: BASE, messages: QUESTION, max_tokens: 600, min_tokens: 600, stream: true as const }
    const begun = await Promise.all(
      Array.from({ length: 2 * ROWS }, async () => {
        const stream = await client('demo').chat.completions.create(long)
        const chunks = stream[Symbol.asyncIterator]()
        for (let seen = 0; seen < 3; seen++) await chunks.next()
        return chunks
      }),
    )
    const waiting = [...models(), ...models()].map(async (model) => ({ model, text: await answer(model) }))
    await vi.waitFor(async () => expect(await figure('polylora_sequences_waiting')).toBeGreaterThan(ROWS), 30_000)
    await servers[1]!.kill()
    const ends = await Promise.allSettled(
      begun.map(async (chunks) => {
        while (!(await chunks.next()).done) {}
      }),
    )
    expect(ends.map(({ status }) => status).sort()).toEqual(['fulfilled', 'fulfilled', 'rejected', 'rejected'])
    for (const { model, text } of await Promise.all(waiting)) expect(text).toBe(expected.get(model))
    const left = await servers[0]!.adapters()
    for (const model of models().slice(1)) expect(left).toContain(await digestOf(model))
    expect((await fetch(`${product.backendUrl}/readyz`)).status).toBe(200)
    expect(await metrics()).toContain('polylora_sequences_running 0')
    for (const model of models()) expect(await answer(model)).toBe(expected.get(model))
  })
})
