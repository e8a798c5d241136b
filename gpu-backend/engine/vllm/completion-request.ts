// One sequence as the body of vLLM's `POST /v1/completions`, and what comes back as tokens. Pure.
// Text stays on our side: token ids go out and come in, so that both engines read and write the same.
import { createHash } from 'node:crypto'
import type { SamplingParams } from '../../protocol.ts'
import { overflow, type Sampled } from '../../sampling/sampler.ts'
import { describedSchema } from './described-schema.ts'
import type { CompletionChunk } from './vllm-client.ts'

/** OpenAI's and vLLM's least value of a logit bias: a token that is never chosen while there is another. */
const NEVER = -100
/** vLLM takes no 0. The likeliest token of any vocabulary has more, and so is kept alone. */
const LEAST_TOP_P = 1e-6

export interface CompletionInput {
  /** The base model's name there, or the adapter's. */
  readonly model: string
  readonly tenant: string
  readonly promptTokens: Int32Array
  readonly sampling: SamplingParams
  /** undefined: vLLM's own choice. */
  readonly seed: number | undefined
  /** The model's end tokens and the request's `stop_token_ids`. */
  readonly endTokenIds: readonly number[]
  readonly maxTokens: number
}

/**
 * The request for one choice. Stop strings are not in it: they are found where the text is made. The prefix cache is salted
 * with the tenant; vLLM itself keeps adapters apart in it, by name and path.
 */
export function completionRequest(input: CompletionInput): Record<string, unknown> {
  const { sampling, endTokenIds, maxTokens } = input
  const { response_format: format } = sampling
  const held = format !== undefined && format.type !== 'text'
  return {
    model: input.model,
    prompt: [...input.promptTokens],
    stream: true,
    stream_options: { include_usage: true },
    return_token_ids: true,
    cache_salt: createHash('sha256').update(input.tenant).digest('hex'),
    max_tokens: maxTokens,
    // A format that is complete can only end, so no more tokens than it has may be asked for.
    min_tokens: held ? 0 : Math.min(sampling.min_tokens, maxTokens),
    temperature: sampling.temperature,
    top_p: Math.max(sampling.top_p, LEAST_TOP_P),
    top_k: sampling.top_k,
    min_p: sampling.min_p,
    presence_penalty: sampling.presence_penalty,
    frequency_penalty: sampling.frequency_penalty,
    repetition_penalty: sampling.repetition_penalty,
    ...(input.seed === undefined ? {} : { seed: input.seed }),
    // Asked for in any case: they show when an adapter's numbers overflow.
    logprobs: sampling.logprobs ?? 0,
    return_tokens_as_token_ids: true,
    ...(held ? heldTo(format, sampling) : { logit_bias: sampling.logit_bias, stop_token_ids: endTokenIds }),
  }
}

/** In a format, a stop token could only break it off: it is forbidden instead. */
function heldTo(format: NonNullable<SamplingParams['response_format']>, sampling: SamplingParams) {
  const forbidden = sampling.stop_token_ids.map((id) => [String(id), NEVER])
  return {
    response_format: format.type === 'json_schema' ? namedSchema(format.json_schema) : format,
    logit_bias: { ...sampling.logit_bias, ...Object.fromEntries(forbidden) },
  }
}

function namedSchema({
  name,
  schema,
}: {
  readonly name?: unknown
  readonly schema: Readonly<Record<string, unknown>>
}) {
  return {
    type: 'json_schema',
    json_schema: { name: typeof name === 'string' ? name : 'answer', schema: describedSchema(schema) },
  }
}

/**
 * The tokens of one chunk, in order, each with its `wanted` most likely alternatives.
 * @throws BackendError `invalid_delta` when a token's log probability is no number
 */
export function sampledTokens(chunk: CompletionChunk, wanted = 0): Sampled[] {
  const choice = chunk.choices[0]
  const { token_logprobs: logprobs = [], top_logprobs: tops = [] } = choice?.logprobs ?? {}
  return (choice?.token_ids ?? []).map((token, i) => {
    const logprob = logprobs[i]
    if (logprob === null || logprob === undefined) throw overflow()
    return { token, logprob, top: alternatives(tops[i]).slice(0, wanted) }
  })
}

/** `{"token_id:12": -0.1, ...}`, most likely first. vLLM adds the chosen token where it is none of them. */
function alternatives(top: Readonly<Record<string, number | null>> | null | undefined): Sampled['top'] {
  return Object.entries(top ?? {})
    .map(([name, logprob]) => ({
      token: Number(name.slice('token_id:'.length)),
      logprob: logprob ?? Number.NEGATIVE_INFINITY,
    }))
    .sort((x, y) => y.logprob - x.logprob)
}
