// The CUDA device: the suite that every engine passes. Asked for, since it needs a GPU of NVIDIA's and ONNX Runtime's provider.
import { join } from 'node:path'
import { describe } from 'vitest'
import { tinyEngines } from '../../../support/tiny-engine.ts'
import { writeTinyModel } from '../../../support/tiny-model.ts'
import { engineConformance } from '../engine.case.ts'
import { startLimited } from './limited-engine.ts'

const MINUTES = 60_000

describe.skipIf(!process.env.POLYLORA_CUDA)('the onnx engine on CUDA', { timeout: 10 * MINUTES }, () => {
  const engines = tinyEngines()
  const modelPath = writeTinyModel(join(engines.root, 'tiny'))
  engineConformance({
    start: startLimited(engines, { modelPath, device: 'cuda', weights: 'f16' }),
    tolerance: 0.05,
    workloads: 1,
    noPrefixCache: "a device's KV cache has no views, so that nothing of a row can be kept",
  })
})
