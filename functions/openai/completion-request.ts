// `POST /v1/completions`: text in, text on; no chat template.
import * as z from 'zod/mini'
import { PromptField, SamplingParams as Sampling, type SamplingParams } from '../../gpu-backend/protocol.ts'
import { ApiError } from '../errors.ts'
import { checkTextRequest } from './check-request.ts'
import { choicesField, endUserFields, modelField, streamFields } from './request-fields.ts'
import { keptFormat, samplingFields, toSamplingParams } from './sampling-fields.ts'

export const CompletionRequest = z.looseObject({
  model: modelField,
  prompt: PromptField,
  ...samplingFields,
  ...streamFields,
  n: choicesField,
  best_of: z.nullish(z.int().check(z.positive())),
  logprobs: z.nullish(z.int().check(z.gte(0), z.lte(20))),
  /** Not OpenAI's, for this route; vLLM's. */
  response_format: z.nullish(Sampling.shape.response_format),
  ...endUserFields,
})
export type CompletionRequest = z.infer<typeof CompletionRequest>

const UNSUPPORTED = ['suffix', 'echo']
/** OpenAI's default for this route; chat has none. */
const DEFAULT_MAX_TOKENS = 16

/** @throws ApiError 400 naming the parameter at fault */
export function toCompletionSampling(request: CompletionRequest): SamplingParams {
  checkTextRequest(request, UNSUPPORTED)
  if (request.best_of && request.best_of > (request.n ?? 1)) {
    throw new ApiError(400, 'unsupported_parameter', "'best_of' beyond 'n' is not available here.", {
      param: 'best_of',
    })
  }
  return toSamplingParams(request, {
    max_tokens: request.max_tokens ?? DEFAULT_MAX_TOKENS,
    ...(typeof request.logprobs === 'number' ? { logprobs: request.logprobs } : {}),
    ...keptFormat(request.response_format),
  })
}
