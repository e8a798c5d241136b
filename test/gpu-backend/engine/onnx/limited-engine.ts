// An onnx engine as the suite that every engine passes asks for it: within limits, of a device and weights.
import type { OnnxEngineOptions } from '../../../../gpu-backend/engine/onnx/start-onnx-engine.ts'
import type { tinyEngines } from '../../../support/tiny-engine.ts'
import type { EngineUnderTest } from '../engine.case.ts'

/** Room in memory for a few of the suite's deltas only. */
export const SCARCE_BYTES = 3e6

export function startLimited(
  engines: ReturnType<typeof tinyEngines>,
  options: Partial<OnnxEngineOptions>,
): EngineUnderTest['start'] {
  return ({ rows, queue, contextTokens, memory }, dataDir) =>
    engines.start({
      ...options,
      maxBatch: rows,
      maxQueue: queue,
      contextTokens,
      ...(dataDir === undefined ? {} : { dataDir }),
      ...(memory === 'scarce' ? { memoryBytes: SCARCE_BYTES } : {}),
    })
}
