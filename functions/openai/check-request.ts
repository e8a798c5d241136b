// What is wrong with a request though its schema lets it pass: parameters that this product does not have, and options of a
// stream that nobody asks for.
import { ApiError } from '../errors.ts'

/**
 * How clients of vLLM, SGLang and llama.cpp have an answer held to a format. Passed over, as unknown fields are, they would get
 * free text and take it for what they asked.
 */
const FORMATS_OF_OTHERS = [
  ...['structured_outputs', 'guided_json', 'guided_regex', 'guided_choice', 'guided_grammar', 'structural_tag'],
  ...['regex', 'ebnf', 'grammar', 'json_schema'],
]

/** How SGLang and llama.cpp are told the adapter: the bare base model would answer for it. */
const ADAPTERS_OF_OTHERS = ['lora_path', 'lora']

/** vLLM's and SGLang's, which change what the text is or what is told of it: unlike a hint, they cannot be passed over in silence. */
const UNSUPPORTED_SAMPLING = [
  ...FORMATS_OF_OTHERS,
  ...[
    'allowed_token_ids',
    'bad_words',
    'include_stop_str_in_output',
    'prompt_logprobs',
    'use_beam_search',
    'stop_regex',
  ],
]
/** What does the same here. */
const INSTEAD = new Map([
  ['functions', "use 'tools'"],
  ...FORMATS_OF_OTHERS.map((name) => [name, "use 'response_format'"] as const),
  ...ADAPTERS_OF_OTHERS.map((name) => [name, "put <tenant>/<adapter> into 'model'"] as const),
])

/**
 * `names`: beside those of other servers for an adapter, which no route has.
 * @throws ApiError 400 where `request` uses a parameter that this product doesn't implement
 */
export function refuseUnsupported(request: Readonly<Record<string, unknown>>, names: readonly string[]): void {
  for (const param of [...names, ...ADAPTERS_OF_OTHERS]) {
    const value = request[param]
    if (value === undefined || value === null || value === false || value === '') continue
    if (Array.isArray(value) && value.length === 0) continue
    throw unsupported(param)
  }
}

export function unsupported(param: string): ApiError {
  const advice = INSTEAD.get(param) ?? 'leave it out'
  const message = `Unsupported parameter: '${param}' is not available here: ${advice}.`
  return new ApiError(400, 'unsupported_parameter', message, { param })
}

/**
 * `names`: parameters for this route that are not available here; those of other servers for any are refused on each.
 * @throws ApiError 400 where a request for a text has one of them, or options of a stream that it does not ask for
 */
export function checkTextRequest(request: Readonly<Record<string, unknown>>, names: readonly string[]): void {
  refuseUnsupported(request, [...names, ...UNSUPPORTED_SAMPLING])
  requireStreaming(request)
}

/** @throws ApiError 400, as OpenAI's, where options of a stream come with a request for a whole answer */
function requireStreaming({ stream, stream_options: options }: { stream?: unknown; stream_options?: unknown }): void {
  if (!options || stream) return
  throw new ApiError(400, 'invalid_value', "'stream_options' is only allowed where 'stream' is true.", {
    param: 'stream_options',
  })
}
