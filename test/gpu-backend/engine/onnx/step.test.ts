// What the engine's turn says of a delta that cannot be read, with a cache whose reading fails.
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { graphPath } from '../../../../gpu-backend/engine/onnx/built-graph.ts'
import type { FromWorker } from '../../../../gpu-backend/engine/onnx/messages.ts'
import { Runner } from '../../../../gpu-backend/engine/onnx/runner.ts'
import { Step } from '../../../../gpu-backend/engine/onnx/step.ts'
import { BackendError } from '../../../../gpu-backend/errors.ts'
import { openModelSource } from '../../../../gpu-backend/model/open-model.ts'
import { AdapterCache } from '../../../../gpu-backend/residency/adapter-cache.ts'
import { sequenceRequest } from '../../../support/sequence-request.ts'
import { temporaryDir } from '../../../support/temporary-dir.ts'
import { writeTinyModel } from '../../../support/tiny-model.ts'

const CONTEXT = 64
const dir = temporaryDir()
const { config, ...source } = await openModelSource(writeTinyModel(join(dir, 'model')))
const options = { format: 'f32', target: 'cpu', positions: CONTEXT } as const
const path = await graphPath({ config, ...source }, `sha256:${'a'.repeat(64)}`, options, dir)
const shape = { threads: 1, maxRows: 2, contextTokens: CONTEXT } as const
const runner = new Runner({ graphPath: path, floatType: 'f32', config, device: 'cpu', ...shape })
afterAll(() => runner.release())

test.each([
  ['adapter_missing', new Error('it ends early'), 'The delta sha256:1 could not be read: it ends early'],
  ['unavailable', new BackendError('unavailable', 'Try another backend.'), 'Try another backend.'],
])(
  'a sequence whose delta cannot be read ends with %s where that is what reading says',
  async (code, error, message) => {
    const said: FromWorker[] = []
    const woken = Promise.withResolvers<void>()
    const cache = new AdapterCache(
      1e9,
      () => Promise.reject(error),
      () => {},
    )
    const step = new Step(
      { config, maxRows: 2, prefixCacheBytes: 0 },
      runner,
      cache,
      (one) => said.push(one),
      woken.resolve,
    )
    step.add([sequenceRequest({ id: 1, digest: 'sha256:1' })])
    step.run(0)
    await woken.promise
    expect(said).toEqual([{ type: 'failed', id: 1, code, message, param: undefined }])
    expect(step.isIdle).toBe(true)
  },
)
