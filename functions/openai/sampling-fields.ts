// The sampling parameters shared by chat and text completions, as OpenAI's clients send them: all optional, null = absent.
// Ranges and defaults are the backend's own schema; this file only renames.
import * as z from 'zod/mini'
import { parseToFault, SamplingParams } from '../../gpu-backend/protocol.ts'
import { ApiError, invalidRequest } from '../errors.ts'

const { shape } = SamplingParams

export const samplingFields = {
  max_tokens: z.nullish(z.int().check(z.positive())),
  min_tokens: z.nullish(shape.min_tokens),
  temperature: z.nullish(shape.temperature),
  top_p: z.nullish(shape.top_p),
  /** -1: off, as vLLM writes it; 0 as well. */
  top_k: z.nullish(z.int().check(z.gte(-1))),
  min_p: z.nullish(shape.min_p),
  seed: z.nullish(shape.seed),
  presence_penalty: z.nullish(shape.presence_penalty),
  frequency_penalty: z.nullish(shape.frequency_penalty),
  repetition_penalty: z.nullish(shape.repetition_penalty),
  /** Token id -> value; looked at in the backend's own schema, which counts them first. */
  logit_bias: z.nullish(z.looseObject({})),
  stop: z.nullish(z.union([z.string(), z.array(z.string())], 'must be a text or a list of texts')),
  stop_token_ids: z.nullish(shape.stop_token_ids),
  /** vLLM's and SGLang's, by which load generators get answers of a set length. */
  ignore_eos: z.nullish(z.boolean()),
}

const SamplingFields = z.object(samplingFields)
type SamplingFields = z.infer<typeof SamplingFields>

/** What differs between the routes: how they ask for log probabilities and for a format. */
type SamplingExtras = Partial<Pick<SamplingParams, 'max_tokens' | 'logprobs' | 'response_format'>>

/** What the answer is held to: `text` is what it is anyway, and so no reason to refuse anything. */
export function keptFormat(format: SamplingParams['response_format'] | null): Pick<SamplingParams, 'response_format'> {
  return format && format.type !== 'text' ? { response_format: format } : {}
}

/**
 * The backend's sampling parameters for a request.
 * @throws ApiError 400 naming the parameter that is out of range
 */
export function toSamplingParams(request: SamplingFields, extras: SamplingExtras): SamplingParams {
  const { stop, top_k: topK, ignore_eos: ignoresEnd, ...fields } = SamplingFields.parse(request)
  const all = { ...fields, top_k: topK === -1 ? 0 : topK, ...extras }
  if (ignoresEnd) all.min_tokens = withoutEnd(all)
  const given = Object.entries(all).filter(([, value]) => value !== null && value !== undefined)
  const params = { ...Object.fromEntries(given), stop: typeof stop === 'string' ? [stop] : (stop ?? []) }
  const parsed = parseToFault(SamplingParams, params)
  if (!parsed.success) throw invalidRequest(parsed.error)
  return parsed.data
}

/** The `min_tokens` of an answer that goes on as long as it may. @throws ApiError 400 where tokens are named that should end it */
function withoutEnd({ max_tokens, stop_token_ids }: Pick<SamplingFields, 'max_tokens' | 'stop_token_ids'>): number {
  if (stop_token_ids && stop_token_ids.length > 0) {
    const message =
      "'ignore_eos' keeps every token away that ends an answer, 'stop_token_ids' too: leave one of them out."
    throw new ApiError(400, 'invalid_value', message, { param: 'ignore_eos' })
  }
  return max_tokens ?? Number.MAX_SAFE_INTEGER
}
