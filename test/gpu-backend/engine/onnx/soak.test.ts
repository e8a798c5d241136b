// Does memory stay flat? Decode steps by the thousand with adapters coming and going, on the engine's own turn.
// POLYLORA_SOAK_STEPS sets how many; without it a short run keeps the test in everyone's suite.
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { graphPath } from '../../../../gpu-backend/engine/onnx/built-graph.ts'
import { Runner } from '../../../../gpu-backend/engine/onnx/runner.ts'
import { Step } from '../../../../gpu-backend/engine/onnx/step.ts'
import { identify } from '../../../../gpu-backend/model/identify.ts'
import { openModelSource } from '../../../../gpu-backend/model/open-model.ts'
import { SamplingParams } from '../../../../gpu-backend/protocol.ts'
import { AdapterCache } from '../../../../gpu-backend/residency/adapter-cache.ts'
import { packDelta, viewPacked } from '../../../../gpu-backend/residency/packed-delta.ts'
import { collectGarbage } from '../../../support/collect-garbage.ts'
import { randomDelta } from '../../../support/random-delta.ts'
import { sequenceRequest } from '../../../support/sequence-request.ts'
import { temporaryDir } from '../../../support/temporary-dir.ts'
import { writeTinyModel } from '../../../support/tiny-model.ts'

const STEPS = Number(process.env.POLYLORA_SOAK_STEPS ?? 6000)
const ADAPTERS = 40
const ADAPTERS_IN_MEMORY = 6
const MAX_ROWS = 4
const CONTEXT = 64

/** Bytes: of the whole process; of JavaScript objects that are alive; of everything that is not V8's heap. */
interface MemorySample {
  readonly resident: number
  readonly objects: number
  readonly native: number
}

const dir = temporaryDir()

function memory(): MemorySample {
  collectGarbage()
  const { rss, heapUsed, heapTotal } = process.memoryUsage()
  return { resident: rss, objects: heapUsed, native: rss - heapTotal }
}

it(
  `keeps its memory flat over ${STEPS} decode steps with adapters churning`,
  async () => {
    const source = await openModelSource(writeTinyModel(join(dir, 'model')))
    const base = await identify(source, 'tiny', dir)
    const path = await graphPath(source, base.fingerprint, { format: 'f32', target: 'cpu', positions: CONTEXT }, dir)
    const { config } = source
    const runner = new Runner({
      graphPath: path,
      floatType: 'f32',
      config,
      device: 'cpu',
      threads: 1,
      maxRows: MAX_ROWS,
      contextTokens: CONTEXT,
    })
    await runner.loadVariants()
    const packed = Array.from({ length: ADAPTERS + 1 }, (_, seed) => {
      const delta = randomDelta(base, { seed, rank: 1 + (seed % 8), strength: 0.05 })
      return packDelta(String(seed), delta, runner.groups, base)
    })
    // New memory every time, as reading a file makes it.
    const load = (digest: string) => {
      const { shape, values } = packed[Number(digest)]!
      return viewPacked(digest, shape, runner.groups, base, values.slice())
    }
    const capacity = ADAPTERS_IN_MEMORY * load('7').bytes
    const cache = new AdapterCache(
      capacity,
      async (digest) => load(digest),
      (delta) => runner.forget(delta.digest),
    )
    let ended = 0
    const step = new Step(
      { config, maxRows: MAX_ROWS, contextTokens: CONTEXT, kvTokens: MAX_ROWS * CONTEXT, prefixCacheBytes: 1 << 20 },
      runner,
      cache,
      (message) => {
        if (message.type === 'step') ended += message.ended.length
        if (message.type === 'failed') throw new Error(message.message)
      },
      () => {},
    )
    let sent = 0
    const samples: MemorySample[] = []
    for (let done = step.report().counts.steps; done < STEPS; done = step.report().counts.steps) {
      while (sent - ended < 2 * MAX_ROWS) {
        sent++
        const promptTokens = Int32Array.from({ length: 4 + (sent % 20) }, (_, i) => 5 + ((sent * 31 + i * 7) % 1000))
        step.add([
          sequenceRequest({
            id: sent,
            tenant: `tenant-${sent % 5}`,
            digest: sent % 9 === 0 ? null : String(1 + ((sent * 17) % ADAPTERS)),
            promptTokens,
            sampling: SamplingParams.parse({ temperature: 0.8, top_p: 0.9 }),
            seed: sent,
            maxTokens: 3 + (sent % 25),
          }),
        ])
      }
      for (let i = 0; i < 100; i++) {
        if (!step.run(0)) await new Promise((resolve) => setImmediate(resolve))
        else if (i % 10 === 0) await new Promise((resolve) => setImmediate(resolve))
      }
      if (step.report().counts.steps >= (samples.length * STEPS) / 10) samples.push(memory())
    }
    runner.release()
    const { loads, evictions } = cache.stats()
    const megabytes = (of: keyof MemorySample) => samples.map((sample) => Math.round(sample[of] / 1e6)).join(' ')
    console.log(
      `${sent} sequences, ${loads} loads, ${evictions} evictions; MB by tenths: resident ${megabytes('resident')}; ` +
        `objects ${megabytes('objects')}; native ${megabytes('native')}`,
    )
    expect(evictions).toBeGreaterThan(ADAPTERS_IN_MEMORY)
    // The first tenths fill caches. Of some: V8 at times gives much of its heap back at once, or counts it as its own still.
    const settled = samples.slice(3, 6)
    const growth = (of: keyof MemorySample) => samples.at(-1)![of] - Math.max(...settled.map((sample) => sample[of]))
    expect(growth('objects')).toBeLessThan(4e6)
    expect(growth('native')).toBeLessThan(32e6)
  },
  30 * 60_000,
)
