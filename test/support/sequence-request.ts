// A sequence as the server hands it to the engine, with everything a test does not speak of filled in.
import { SamplingParams } from '../../gpu-backend/protocol.ts'
import type { SequenceRequest } from '../../gpu-backend/scheduler/sequence.ts'

export function sequenceRequest(fields: Partial<SequenceRequest> & { readonly id: number }): SequenceRequest {
  return {
    tenant: 'acme',
    digest: null,
    promptTokens: Int32Array.of(1, 2, 3),
    sampling: SamplingParams.parse({}),
    seed: 1,
    endTokenIds: [],
    maxTokens: 8,
    deadlineMs: undefined,
    ...fields,
  }
}
