// An onnx engine on a tiny model with its own folders, closed when the test file ends.
import { mkdtempSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll } from 'vitest'
import type { OnnxEngine } from '../../gpu-backend/engine/onnx/onnx-engine.ts'
import { type OnnxEngineOptions, startOnnxEngine } from '../../gpu-backend/engine/onnx/start-onnx-engine.ts'
import { temporaryDir } from './temporary-dir.ts'
import { type TinyModelOptions, writeTinyModel } from './tiny-model.ts'

/** Starts engines in `root`; whatever is not said is small and on the CPU. */
export function tinyEngines(): {
  readonly root: string
  start(options?: Partial<OnnxEngineOptions>, model?: TinyModelOptions): Promise<OnnxEngine>
} {
  const root = temporaryDir()
  const started: OnnxEngine[] = []
  afterAll(async () => {
    for (const engine of started) await engine.close()
  })
  return {
    root,
    async start(options = {}, model) {
      const engine = await startOnnxEngine(
        {
          modelPath: options.modelPath ?? writeTinyModel(mkdtempSync(join(root, 'model-')), model),
          modelName: 'tiny',
          dataDir: mkdtempSync(join(root, 'data-')),
          weights: 'f32',
          device: 'cpu',
          threads: 1,
          ownCore: false,
          memoryBytes: 256e6,
          maxBatch: 8,
          contextTokens: 512,
          diskBytes: 1e9,
          maxDeltaBytes: 1e9,
          maxRank: 1024,
          maxQueue: 200,
          ...options,
        },
        () => {},
      )
      started.push(engine)
      return engine
    },
  }
}
