// The CUDA device: the suite that every engine passes. Asked for, since it needs a GPU of NVIDIA's and ONNX Runtime's provider.
import { join } from 'node:path'
import { describe } from 'vitest'
import { tinyEngines } from '../../../support/tiny-engine.ts'
import { writeTinyModel } from '../../../support/tiny-model.ts'
import { engineConformance } from '../engine.case.ts'

const MINUTES = 60_000
/** Room in memory for a few of the suite's deltas only. */
const SCARCE_BYTES = 3e6

describe.skipIf(!process.env.POLYLORA_CUDA)('the onnx engine on CUDA', { timeout: 10 * MINUTES }, () => {
  const engines = tinyEngines()
  const modelPath = writeTinyModel(join(engines.root, 'tiny'))
  engineConformance({
    start: ({ rows, queue, contextTokens, memory }, dataDir) =>
      engines.start({
        modelPath,
        device: 'cuda',
        weights: 'f16',
        maxBatch: rows,
        maxQueue: queue,
        contextTokens,
        ...(dataDir === undefined ? {} : { dataDir }),
        ...(memory === 'scarce' ? { memoryBytes: SCARCE_BYTES } : {}),
      }),
    tolerance: 0.05,
    workloads: 1,
    noPrefixCache: "a device's KV cache has no views, so that nothing of a row can be kept",
  })
})
