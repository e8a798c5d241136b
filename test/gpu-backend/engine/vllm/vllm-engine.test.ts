// The vllm engine against a real vLLM, its build for CPUs, on a tiny model: what every engine must do, and what only
// this one can get wrong, its servers being programs of their own.
import { existsSync, readdirSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, describe, expect, test, vi } from 'vitest'
import { BackendError, StartupError } from '../../../../gpu-backend/errors.ts'
import { ask, body, stream } from '../../../support/ask.ts'
import { cuttableSocket } from '../../../support/cuttable-socket.ts'
import { expectOneSentence } from '../../../support/one-sentence.ts'
import { type DeltaRecipe, encodedRandomDelta } from '../../../support/random-delta.ts'
import { temporaryDir } from '../../../support/temporary-dir.ts'
import { tinyEngines } from '../../../support/tiny-engine.ts'
import { writeTinyModel } from '../../../support/tiny-model.ts'
import { SERVER, tryFindVllm, vllmServer } from '../../../support/vllm-server.ts'
import { engineConformance } from '../engine.case.ts'
import { ownServerCases } from './own-server.case.ts'

const SCARCE_BYTES = 4e6
/** Python alone takes most of a minute on two busy cores. */
const START_MS = 600_000
/** Two cores carry a server in Python, an engine to compare it with, and whatever else is tested. */
const SLOW_MS = 300_000
/** Both engines compute in f32, in another order. */
const TOLERANCE = 1e-3
const vllm = tryFindVllm()

describe.skipIf(vllm === undefined)('the vllm engine', { timeout: SLOW_MS }, () => {
  // vLLM's attention on a CPU takes heads of 32 and more.
  const modelPath = writeTinyModel(join(temporaryDir(), 'tiny'), { config: { head_dim: 32 } })
  const server = vllmServer(vllm!, modelPath)
  const onnxEngines = tinyEngines()
  beforeAll(async () => void (await server.connect()), START_MS)

  engineConformance({
    start: ({ rows, queue, contextTokens, memory }, dataDir) =>
      server.connect({
        maxBatch: rows,
        maxQueue: queue,
        contextTokens,
        ...(dataDir === undefined ? {} : { dataDir }),
        ...(memory === 'scarce' ? { memoryBytes: SCARCE_BYTES, maxLoras: 3 } : {}),
      }),
    tolerance: TOLERANCE,
    workloads: 1,
    slow: true,
    noEmbeddings: 'a server that generates has no pooler',
    cachedAtTheEnd: "vLLM's stream tells of the prompt's cached tokens in its last chunk",
    endlessJson: "vLLM's grammar allows white space and numbers without end",
    noCallsBesideFormats: "vLLM's grammar for a schema has nothing beside it",
    admittedTier: 'host',
  })

  test('applies deltas of every kind as the onnx engine does', async () => {
    const [ours, theirs] = [await onnxEngines.start({ modelPath }), await server.connect()]
    const recipes: DeltaRecipe[] = [
      { seed: 31, rank: 1 },
      { seed: 32, rank: (path) => 1 + (path.length % 31) },
      { seed: 33, rank: 32, modules: (path) => path.endsWith('v_proj'), strength: 1 },
      { seed: 34, rank: 4, modules: (path) => path === 'lm_head', strength: 1 },
      { seed: 35, rank: 4, modules: (path) => path === 'model.embed_tokens', strength: 1 },
    ]
    for (const recipe of recipes) {
      const { digest, bytes } = await encodedRandomDelta(ours.info.base, recipe)
      for (const engine of [ours, theirs]) await engine.admit(digest, body(bytes), 1e9)
      const [x, y] = await Promise.all([ours, theirs].map((engine) => ask(engine, { delta: digest })))
      expect(y!.tokens).toEqual(x!.tokens)
      for (const [t, value] of x!.choices[0]!.logprobs.entries()) {
        expect(Math.abs(value - y!.choices[0]!.logprobs[t]!)).toBeLessThan(TOLERANCE)
      }
    }
  })

  test('ends in vLLM, too, when its client leaves', async () => {
    const engine = await server.connect()
    const figure = async (name: string) => {
      const samples = (await engine.metrics()).matchAll(new RegExp(`^vllm:${name}\\{.*\\} (.*)$`, 'gm'))
      return Array.from(samples).reduce((sum, [, value]) => sum + Number(value), 0)
    }
    const before = await figure('generation_tokens_total')
    const answer = stream(engine, { sampling: { max_tokens: 480 } })[Symbol.asyncIterator]()
    for (let seen = 0; seen < 2; seen++) await answer.next()
    await answer.return?.()
    let others = 0
    // vLLM counts anew with each step only, so something else has to run.
    await vi.waitFor(async () => {
      others += (await ask(engine)).tokens.length
      expect(await figure('num_requests_running')).toBe(0)
    }, 60_000)
    expect((await figure('generation_tokens_total')) - before - others).toBeLessThan(480)
  })

  test('refuses a rank beyond its own in one sentence, when the delta is taken in', async () => {
    const engine = await server.connect()
    expect(engine.info.max_rank).toBe(SERVER.maxRank)
    const { digest, bytes } = await encodedRandomDelta(engine.info.base, { seed: 41, rank: SERVER.maxRank + 1 })
    const error = await engine.admit(digest, body(bytes), 1e9).catch((reason: unknown) => reason)
    if (!(error instanceof BackendError)) throw error
    expect(error.code).toBe('invalid_delta')
    expectOneSentence(error.message)
    expect(await engine.residency()).toEqual([])
  })

  test('goes on with a delta that another backend of the same server forgets and loads again', async () => {
    const [one, other] = [await server.connect(), await server.connect()]
    const { digest, bytes } = await encodedRandomDelta(one.info.base, { seed: 42, rank: 4 })
    for (const engine of [one, other]) await engine.admit(digest, body(bytes), 1e9)
    const before = await ask(one, { delta: digest })
    const answer = stream(one, { delta: digest, sampling: { max_tokens: 480 } })[Symbol.asyncIterator]()
    for (let seen = 0; seen < 2; seen++) await answer.next()
    for (let times = 0; times < 3; times++) {
      await other.evict(digest)
      await other.admit(digest, body(bytes), 1e9)
      const both = await Promise.all([one, other].map((engine) => ask(engine, { delta: digest })))
      for (const { tokens } of both) expect(tokens).toEqual(before.tokens)
    }
    expect((await answer.next()).done).toBe(false)
    await answer.return?.()
  })

  test('asks again for a delta whose files were damaged, and takes it', async () => {
    const dataDir = join(server.root, 'damaged')
    // Room for one delta, so that another takes its place in the server.
    const engine = await server.connect({ dataDir, maxLoras: 1, memoryBytes: 1 })
    const { digest, bytes } = await encodedRandomDelta(engine.info.base, { seed: 43, rank: 4 })
    await engine.admit(digest, body(bytes), 1e9)
    const before = await ask(engine, { delta: digest })
    const other = await encodedRandomDelta(engine.info.base, { seed: 45, rank: 4 })
    await engine.admit(other.digest, body(other.bytes), 1e9)
    const dir = readdirSync(join(dataDir, 'vllm'))[0]!
    const [adapter] = readdirSync(join(dataDir, 'vllm', dir)).filter((name) => name.startsWith(digest.slice(7)))
    truncateSync(join(dataDir, 'vllm', dir, adapter!, 'adapter_model.safetensors'), 1000)
    await expect(ask(engine, { delta: digest })).rejects.toMatchObject({ code: 'adapter_missing' })
    await engine.admit(digest, body(bytes), 1e9)
    expect((await ask(engine, { delta: digest })).tokens).toEqual(before.tokens)
  })

  test('gives a server that it connects to again what the server may read again, where that was removed', async () => {
    const dataDir = join(server.root, 'removed')
    await (await server.connect({ dataDir })).close()
    const [dir] = readdirSync(join(dataDir, 'vllm'))
    const bare = join(dataDir, 'vllm', dir!, 'polylora-bare')
    expect(existsSync(bare)).toBe(true)
    rmSync(dataDir, { recursive: true })
    await server.connect({ dataDir })
    expect(existsSync(bare)).toBe(true)
  })

  test('does not use a server of another base model, and says so in one sentence', async () => {
    const refusalOf = async (options: Parameters<typeof server.connect>[0]) => {
      const error = await server.connect(options).catch((reason: unknown) => reason)
      if (!(error instanceof StartupError)) throw error
      expectOneSentence(error.message)
      return error.message
    }
    const other = writeTinyModel(join(server.root, 'other'), { seed: 2, config: { head_dim: 32 } })
    expect(await refusalOf({ modelPath: other })).toContain(modelPath)
    // The right directory, and other weights in the server's memory than when it was noted.
    const dataDir = join(server.root, 'mistaken')
    await server.connect({ dataDir })
    const [file] = readdirSync(join(dataDir, 'probes'))
    writeFileSync(join(dataDir, 'probes', file!), JSON.stringify([{ 'token_id:1': -0.1, 'token_id:2': -3 }]))
    expect(await refusalOf({ dataDir })).toContain('other weights')
  })

  test('of several servers goes on with those that are left', async () => {
    const sockets = await Promise.all(
      ['a', 'b'].map((name) => cuttableSocket(join(server.root, name), server.socketPath)),
    )
    const engine = await server.connectBy(sockets.map(({ path }) => path))
    await vi.waitFor(async () => {
      const text = await engine.metrics()
      for (const { path } of sockets) if (!text.includes(`replica="${path}"`)) throw new Error(`${path} is not ready`)
    }, 60_000)
    const { digest, bytes } = await encodedRandomDelta(engine.info.base, { seed: 44, rank: 4 })
    await engine.admit(digest, body(bytes), 1e9)
    const expected = await ask(engine, { delta: digest, sampling: { max_tokens: 20 } })
    const begun = Array.from({ length: 4 }, () =>
      stream(engine, { sampling: { max_tokens: 480 } })[Symbol.asyncIterator](),
    )
    // `started`, and a first token: from then on an answer cannot move.
    for (let seen = 0; seen < 2; seen++) await Promise.all(begun.map((answer) => answer.next()))
    // More than both run at once, so that some wait here and some in the server.
    const waiting = Promise.allSettled(
      Array.from({ length: 30 }, () => ask(engine, { delta: digest, sampling: { max_tokens: 20 } })),
    )
    await sockets[1]!.cut()
    const ends = await Promise.allSettled(
      begun.map(async (answer) => {
        while (!(await answer.next()).done) {}
      }),
    )
    const failed = ends.flatMap((end) => (end.status === 'rejected' ? [end.reason as BackendError] : []))
    expect(failed.length).toBe(2)
    for (const { code } of failed) expect(code).toBe('unavailable')
    const answers = await waiting
    for (const answer of answers) {
      if (answer.status === 'fulfilled') expect(answer.value.tokens).toEqual(expected.tokens)
      // It had begun there.
      else expect(answer.reason).toMatchObject({ code: 'unavailable' })
    }
    expect(answers.filter(({ status }) => status === 'fulfilled').length).toBeGreaterThan(20)
    await engine.ready()
    expect((await ask(engine, { delta: digest, sampling: { max_tokens: 20 } })).tokens).toEqual(expected.tokens)
    expect(await engine.stats()).toMatchObject({ running: 0, waiting: 0 })
  })
})

describe.skipIf(vllm === undefined)('a vLLM server of our own', { timeout: SLOW_MS }, () => ownServerCases(vllm!))
