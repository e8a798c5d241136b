// Does memory stay flat? Decode steps by the thousand with adapters coming and going, on the engine's own turn.
// POLYLORA_SOAK_STEPS sets how many; without it a short run keeps the test in everyone's suite.
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { Runner } from '../../../../gpu-backend/engine/onnx/runner.ts'
import { Step } from '../../../../gpu-backend/engine/onnx/step.ts'
import { graphPath, identify } from '../../../../gpu-backend/model/built-model.ts'
import { openModelSource } from '../../../../gpu-backend/model/open-model.ts'
import { SamplingParams } from '../../../../gpu-backend/protocol.ts'
import { AdapterCache } from '../../../../gpu-backend/residency/adapter-cache.ts'
import { packDelta, viewPacked } from '../../../../gpu-backend/residency/packed-delta.ts'
import { randomDelta } from '../../../support/random-delta.ts'
import { sequenceRequest } from '../../../support/sequence-request.ts'
import { temporaryDir } from '../../../support/temporary-dir.ts'
import { writeTinyModel } from '../../../support/tiny-model.ts'

const STEPS = Number(process.env.POLYLORA_SOAK_STEPS ?? 6000)
const ADAPTERS = 40
const ADAPTERS_IN_MEMORY = 6
const MAX_ROWS = 4
const CONTEXT = 64

const dir = temporaryDir()

it(
  `keeps its memory flat over ${STEPS} decode steps with adapters churning`,
  async () => {
    const source = await openModelSource(writeTinyModel(join(dir, 'model')))
    const base = await identify(source, 'tiny', dir)
    const path = await graphPath(source, base.fingerprint, 'f32', CONTEXT, 'fused', dir)
    const { config } = source
    const runner = new Runner({
      graphPath: path,
      config,
      device: 'cpu',
      threads: 1,
      maxRows: MAX_ROWS,
      contextTokens: CONTEXT,
    })
    const load = (digest: string) => {
      const seed = Number(digest)
      const delta = randomDelta(base, { seed, rank: 1 + (seed % 8), strength: 0.05 })
      const { shape, values } = packDelta(digest, delta, runner.groups, base)
      return viewPacked(digest, shape, runner.groups, base, values)
    }
    const capacity = ADAPTERS_IN_MEMORY * load('7').bytes
    const cache = new AdapterCache(
      capacity,
      async (digest) => load(digest),
      (delta) => runner.forget(delta.digest),
    )
    let ended = 0
    const step = new Step(
      { config, maxRows: MAX_ROWS, prefillChunkTokens: 16, prefixCacheBytes: 1 << 20 },
      runner,
      cache,
      (message) => {
        if (message.type === 'step') ended += message.ended.length
        if (message.type === 'failed') throw new Error(message.message)
      },
      () => {},
    )
    let sent = 0
    const residentBytes: number[] = []
    for (let done = step.report().steps; done < STEPS; done = step.report().steps) {
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
      if (step.report().steps - (residentBytes.length * STEPS) / 10 >= 0) {
        globalThis.gc?.()
        residentBytes.push(process.memoryUsage().rss)
      }
    }
    runner.release()
    const { evictions } = cache.stats()
    console.log(
      `${sent} sequences, ${cache.stats().loads} loads, ${evictions} evictions; resident MB by tenths: ` +
        residentBytes.map((bytes) => Math.round(bytes / 1e6)).join(' '),
    )
    expect(evictions).toBeGreaterThan(ADAPTERS_IN_MEMORY)
    // The first tenths fill caches and let the collector find its level. A leak of one kilobyte a step would show.
    const settled = residentBytes[Math.floor(residentBytes.length * 0.3)]!
    expect(residentBytes.at(-1)! - settled).toBeLessThan(Math.max(48e6, STEPS * 1000))
  },
  30 * 60_000,
)
