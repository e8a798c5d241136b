// The WebGPU device against the CPU, on a software Vulkan driver: the same questions to two engines, and what differs.
// Each step takes about a tenth of a second there and each new shape a few for its shaders, so the questions are few and
// chosen: every way that rows, prompts and deltas move on a device. Skipped, saying so, where no driver is found.
import { join } from 'node:path'
import { beforeAll, describe, expect, test } from 'vitest'
import type { Engine } from '../../../../gpu-backend/engine/engine.ts'
import { StartupError } from '../../../../gpu-backend/errors.ts'
import { type Answer, ask, body, contextOf, type Question, stream } from '../../../support/ask.ts'
import { expectOneSentence } from '../../../support/one-sentence.ts'
import { encodedRandomDelta } from '../../../support/random-delta.ts'
import { useSoftwareVulkan } from '../../../support/software-vulkan.ts'
import { tinyEngines } from '../../../support/tiny-engine.ts'
import { writeTinyModel } from '../../../support/tiny-model.ts'
import { engineConformance } from '../engine.case.ts'
import { startLimited } from './limited-engine.ts'

const TOLERANCE = 1e-3
const MINUTES = 60_000

const engines = tinyEngines()
const modelPath = writeTinyModel(join(engines.root, 'tiny'))
const found = useSoftwareVulkan()
if (!found) console.warn('No Vulkan driver: the WebGPU device is not tested. Install chromium or set VK_DRIVER_FILES.')

describe.skipIf(!found)('the onnx engine on WebGPU', { timeout: 10 * MINUTES }, () => {
  let cpu: Engine
  let webgpu: Engine
  let digests: string[]

  beforeAll(async () => {
    const options = { modelPath, maxBatch: 3, contextTokens: 128 }
    cpu = await engines.start(options)
    webgpu = await engines.start({ ...options, device: 'webgpu' })
    const { base } = cpu.info
    const deltas = await Promise.all([
      encodedRandomDelta(base, { seed: 1, rank: 1, strength: 0.5 }),
      encodedRandomDelta(base, { seed: 2, rank: 6, modules: () => true }),
      encodedRandomDelta(base, { seed: 3, rank: 4, modules: (path) => /[qv]_proj$/.test(path), strength: 1 }),
    ])
    for (const engine of [cpu, webgpu]) {
      for (const { digest, bytes } of deltas) await engine.admit(digest, body(bytes), 1e9)
    }
    digests = deltas.map(({ digest }) => digest)
  }, 5 * MINUTES)

  const askAll = (engine: Engine, questions: readonly Question[]) =>
    Promise.all(questions.map((question) => ask(engine, question)))

  function largestDifference(answers: readonly Answer[], expected: readonly Answer[]): number {
    const logprobs = (answer: Answer) => answer.choices.flatMap((choice) => choice.logprobs)
    return Math.max(
      ...answers.flatMap((answer, i) =>
        logprobs(answer).map((logprob, t) => Math.abs(logprob - logprobs(expected[i]!)[t]!)),
      ),
    )
  }

  test('gives the CPU’s answers: different deltas in one batch, rows that move, prompts that wait', async () => {
    // Four sequences on three rows; the shortest ends first, so that a row moves, and the last one joins later.
    const lengths = [6, 3, 5, 4]
    const questions = [null, ...digests].map((delta, i): Question => {
      const prompt = 'Could you tell me about your opening hours? '.repeat(1 + i)
      return { delta, prompt, tenant: `t${i}`, sampling: { max_tokens: lengths[i]! } }
    })
    const expected = await askAll(cpu, questions)
    const answers = await askAll(webgpu, questions)
    expect(answers.map(({ tokens }) => tokens)).toEqual(expected.map(({ tokens }) => tokens))
    const difference = largestDifference(answers, expected)
    console.log(`largest difference of a log probability between webgpu and cpu: ${difference.toExponential(1)}`)
    expect(difference).toBeLessThan(TOLERANCE)
    expect(Math.max(...answers.map(({ batch }) => batch!.deltas))).toBeGreaterThan(1)
  })

  test('shares one delta between rows, and draws the same tokens for a seed', async () => {
    const question = { delta: digests[0]!, n: 2, sampling: { max_tokens: 4, temperature: 1, seed: 7 } }
    const [expected] = await askAll(cpu, [question])
    const [answer] = await askAll(webgpu, [question])
    expect(answer!.choices.map(({ tokens }) => tokens)).toEqual(expected!.choices.map(({ tokens }) => tokens))
  })

  test('embeds as the CPU does, with a delta applied', async () => {
    const [x, y] = await Promise.all(
      [cpu, webgpu].map((engine) =>
        engine.embed({ delta: digests[1]!, input: ['a question about shoes'] }, contextOf()),
      ),
    )
    const difference = x!.embeddings[0]!.map((value, i) => Math.abs(value - y!.embeddings[0]![i]!))
    expect(Math.max(...difference)).toBeLessThan(TOLERANCE)
  })

  test('frees the row of a client that leaves, and serves the next one', async () => {
    const reader = stream(webgpu, { sampling: { max_tokens: 60 } })
    for await (const event of reader) if (event.event === 'text') break
    const question = { delta: digests[2]!, sampling: { max_tokens: 3 } }
    expect((await ask(webgpu, question)).tokens).toEqual((await ask(cpu, question)).tokens)
    expect((await webgpu.stats()).running).toBe(0)
  })
})

test.skipIf(!found)(
  '16-bit floats on a driver that has none are refused in one sentence',
  { timeout: MINUTES },
  async () => {
    const refused = engines.start({ modelPath, device: 'webgpu', weights: 'f16' })
    const error = await refused.catch((reason: unknown) => reason)
    expect(error).toBeInstanceOf(StartupError)
    expect((error as Error).message).toMatch(/"webgpu" has no 16-bit floats .*: choose --weights f32, int8 or int4\.$/)
    expectOneSentence((error as Error).message)
  },
)

// The suite that every engine passes. In software it takes as long as all others together, so it has its own switch.
describe.skipIf(!found || !process.env.POLYLORA_WEBGPU_SUITE)(
  'the onnx engine on WebGPU',
  { timeout: 10 * MINUTES },
  () => {
    engineConformance({
      start: startLimited(engines, { modelPath, device: 'webgpu' }),
      tolerance: 1e-4,
      workloads: 1,
      slow: true,
      noPrefixCache: "a device's KV cache has no views, so that nothing of a row can be kept",
    })
  },
)
