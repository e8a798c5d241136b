// A vLLM server of our own on the embedded base model: the same answers as the onnx engine's, and a restart in traffic.
// A case and no suite of its own, so that two servers never share the machine's few cores.
import { beforeAll, expect, test, vi } from 'vitest'
import { EMBEDDED_MODEL } from '../../../../gpu-backend/config.ts'
import type { Engine } from '../../../../gpu-backend/engine/engine.ts'
import { type Answer, ask, body, stream } from '../../../support/ask.ts'
import { groupsBelow, processesOf } from '../../../support/process-group.ts'
import { type SampleAdapter, sampleAdapters } from '../../../support/sample-adapters.ts'
import { tinyEngines } from '../../../support/tiny-engine.ts'
import { QUICK_START, SHARED_CORES, vllmEngines } from '../../../support/vllm-server.ts'

const START_MS = 600_000
const ANSWER_TOKENS = 40
/** By how much a token's log probability may differ between the engines, both in f32. */
const TOLERANCE = 5e-3
const QUESTIONS = ['What is your return policy?', 'When are you open on Saturday?', 'how much is shipping']

export function ownServerCases(vllm: string): void {
  const engines = vllmEngines()
  const onnxEngines = tinyEngines()
  let engine: Engine
  let samples: SampleAdapter[]
  let group: number

  const question = (delta: string | null, content: string, of: Engine = engine): Promise<Answer> =>
    ask(of, { delta, messages: [{ role: 'user', content }], sampling: { max_tokens: ANSWER_TOKENS, min_tokens: 0 } })

  beforeAll(async () => {
    for (const [name, value] of Object.entries(SHARED_CORES)) vi.stubEnv(name, value)
    engine = await engines.start({
      modelPath: EMBEDDED_MODEL,
      server: { kind: 'own', command: vllm, more: QUICK_START },
    })
    const [found] = groupsBelow(process.pid).filter((id) => processesOf(id).length > 3)
    group = found!
    samples = await sampleAdapters(engine.info.base)
    for (const { digest, bytes } of samples) await engine.admit(digest, body(bytes), 1e9)
  }, START_MS)

  test('answers as the onnx engine does, with every sample adapter and without one', async () => {
    const onnx = await onnxEngines.start({ modelPath: EMBEDDED_MODEL })
    expect(onnx.info.base.fingerprint).toBe(engine.info.base.fingerprint)
    for (const { digest, bytes } of samples) await onnx.admit(digest, body(bytes), 1e9)
    const asked = [null, ...samples.map(({ digest }) => digest)].flatMap((delta) =>
      QUESTIONS.map((content) => ({ delta, content })),
    )
    const theirs = await Promise.all(asked.map(({ delta, content }) => question(delta, content)))
    const ours = await Promise.all(asked.map(({ delta, content }) => question(delta, content, onnx)))
    const differences = theirs.flatMap((answer, i) => {
      const [x, y] = [answer.choices[0]!, ours[i]!.choices[0]!]
      const isApart = x.logprobs.some((value, t) => Math.abs(value - (y.logprobs[t] ?? -99)) > TOLERANCE)
      const isSame = x.tokens.join() === y.tokens.join() && !isApart
      return isSame ? [] : [{ ...asked[i]!, vllm: answer.text, onnx: ours[i]!.text }]
    })
    expect(differences).toEqual([])
  })

  test("gives vLLM's own figures beside ours", async () => {
    const text = await engine.metrics()
    expect(text).toMatch(/^vllm:generation_tokens_total\{replica="vllm",.*\} [1-9]/m)
    expect(text).not.toContain('python_info')
  })

  test('that dies in traffic fails what has begun, refuses what comes, and comes back with every delta', {
    timeout: START_MS,
  }, async () => {
    const { digest } = samples[0]!
    const before = await question(digest, QUESTIONS[0]!)
    const begun = stream(engine, { delta: digest, sampling: { max_tokens: 400 } })[Symbol.asyncIterator]()
    await begun.next()
    await begun.next()
    process.kill(-group, 'SIGKILL')
    const end = async () => {
      while (!(await begun.next()).done) {}
    }
    await expect(end()).rejects.toMatchObject({ code: 'unavailable' })
    await expect(engine.ready()).rejects.toMatchObject({ code: 'unavailable' })
    await expect(question(digest, QUESTIONS[0]!)).rejects.toMatchObject({ code: 'unavailable' })
    expect(await engine.stats()).toMatchObject({ running: 0, waiting: 0, diskDeltas: samples.length })
    await vi.waitFor(() => engine.ready(), { timeout: START_MS, interval: 200 })
    expect((await engine.residency()).every(({ tier }) => tier === 'disk')).toBe(true)
    expect((await question(digest, QUESTIONS[0]!)).tokens).toEqual(before.tokens)
    expect(processesOf(group)).toEqual([])
  })

  test('leaves no process behind when the engine is closed', async () => {
    const [id] = groupsBelow(process.pid).filter((one) => processesOf(one).length > 3)
    await engine.close()
    expect(processesOf(id!)).toEqual([])
    await expect(engine.ready()).rejects.toMatchObject({ code: 'unavailable' })
  })
}
