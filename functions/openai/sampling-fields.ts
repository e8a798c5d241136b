// The sampling parameters shared by chat and text completions, as OpenAI's clients send them: all optional, null = absent.
// Ranges and defaults are the backend's own schema; this file only renames.
import * as z from 'zod/mini'
import { SamplingParams } from '../../gpu-backend/protocol.ts'
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
  logit_bias: z.nullish(z.record(z.string(), z.number())),
  stop: z.nullish(z.union([z.string(), z.array(z.string())], 'must be a text or a list of texts')),
  stop_token_ids: z.nullish(shape.stop_token_ids),
}

/**
 * How clients of vLLM, SGLang and llama.cpp have an answer held to a format. Passed over, as unknown fields are, they would get
 * free text and take it for what they asked.
 */
const FORMATS_OF_OTHERS = [
  ...['structured_outputs', 'guided_json', 'guided_regex', 'guided_choice', 'guided_grammar', 'structural_tag'],
  ...['regex', 'ebnf', 'grammar', 'json_schema'],
]

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
  const { stop, top_k: topK, ...fields } = SamplingFields.parse(request)
  const given = Object.entries({ ...fields, top_k: topK === -1 ? 0 : topK, ...extras }).filter(
    ([, value]) => value !== null && value !== undefined,
  )
  const params = { ...Object.fromEntries(given), stop: typeof stop === 'string' ? [stop] : (stop ?? []) }
  const parsed = SamplingParams.safeParse(params)
  if (!parsed.success) throw invalidRequest(parsed.error)
  return parsed.data
}

/** vLLM's, which change what the text is or what is told of it: unlike a hint, they cannot be passed over in silence. */
const UNSUPPORTED_SAMPLING = [
  ...FORMATS_OF_OTHERS,
  ...['allowed_token_ids', 'bad_words', 'include_stop_str_in_output', 'prompt_logprobs'],
]
/** What does the same here. */
const INSTEAD = new Map([
  ['functions', 'tools'],
  ...FORMATS_OF_OTHERS.map((name) => [name, 'response_format'] as const),
])

/** @throws ApiError 400 where `request` uses a parameter that this product doesn't implement */
export function refuseUnsupported(request: Readonly<Record<string, unknown>>, names: readonly string[]): void {
  for (const param of names) {
    const value = request[param]
    if (value === undefined || value === null || value === false || value === '') continue
    if (Array.isArray(value) && value.length === 0) continue
    const instead = INSTEAD.get(param)
    const advice = instead ? `use '${instead}'` : 'leave it out'
    const message = `Unsupported parameter: '${param}' is not available here: ${advice}.`
    throw new ApiError(400, 'unsupported_parameter', message, { param })
  }
}

/**
 * `unsupported`: OpenAI's parameters for this route that are not available here; those of other servers are refused on each.
 * @throws ApiError 400 where a request for a text has one of them, or options of a stream that it does not ask for
 */
export function checkTextRequest(request: Readonly<Record<string, unknown>>, unsupported: readonly string[]): void {
  refuseUnsupported(request, [...unsupported, ...UNSUPPORTED_SAMPLING])
  requireStreaming(request)
}

/** @throws ApiError 400, as OpenAI's, where options of a stream come with a request for a whole answer */
function requireStreaming({ stream, stream_options: options }: { stream?: unknown; stream_options?: unknown }): void {
  if (!options || stream) return
  throw new ApiError(400, 'invalid_value', "'stream_options' is only allowed where 'stream' is true.", {
    param: 'stream_options',
  })
}
