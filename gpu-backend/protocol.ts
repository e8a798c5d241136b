// The wire contract between the edge and a backend: every request, event and error that crosses, as a schema.
// Knows no names of customers' adapters: a delta is its digest, and who may use it is in the capability token.
import * as z from 'zod/mini'
import { BaseModel } from '../adapters/base-model.ts'
import { MAX_RANK } from '../adapters/canonical.ts'

/** Identity of an adapter version: sha256 of its canonical delta file. */
export const Digest = z.string().check(z.regex(/^sha256:[0-9a-f]{64}$/, 'must be sha256:<64 lower-case hex digits>'))
export type Digest = z.infer<typeof Digest>

/** Header that carries the edge's request id; it is repeated in the backend's logs. */
export const REQUEST_ID_HEADER = 'x-request-id'
/** Header that carries the fingerprint of the base model that is asked for: a backend that serves another refuses. */
export const BASE_HEADER = 'x-polylora-base'

const MAX_TEXT_CHARS = 2_000_000
const MAX_STOPS = 16
const MAX_LOGIT_BIASES = 1024
/** Of tools in a request, and of calls in a message. */
export const MAX_TOOLS = 128
const MAX_NAME_CHARS = 256
const MAX_PROMPTS = 256
/** Of what is JSON of any shape: whoever walks through it must not run out of stack. */
const MAX_NESTING = 500
/** Of JSON that a template is given: to walk through so much takes one some 50 ms, on the server's thread. */
export const MAX_TEMPLATE_CHARS = 16_384
/** Texts in one request for embeddings; the edge splits larger ones. */
export const MAX_EMBED_INPUTS = 256

const text = z.string().check(z.maxLength(MAX_TEXT_CHARS))
const finite = z.number()
/** For JSON of any shape. */
export const shallow = z.refine(isShallow, `must not be nested deeper than ${MAX_NESTING} levels`)

/**
 * As `schema.safeParse`, but no further than the first fault of a list or an object: a request may be a million faults, and a note
 * of each takes a hundred times the room of what it is about. Checks of a list's items must abort for that.
 */
export function parseToFault<Schema extends z.ZodMiniType>(schema: Schema, value: unknown) {
  const context: z.core.ParseContextInternal<z.core.$ZodIssue> = { abortEarly: true }
  return schema.safeParse(value, context)
}

/** A model's call of a tool, as OpenAI writes it. */
export const ToolCall = z.strictObject({
  id: z.string().check(z.minLength(1), z.maxLength(MAX_NAME_CHARS)),
  type: z.literal('function'),
  function: z.strictObject({
    name: z.string().check(z.minLength(1), z.maxLength(MAX_NAME_CHARS)),
    /** JSON. */
    arguments: text.check(z.refine(isJsonObject, 'must be the JSON of an object, and not nested deeply')),
  }),
})
export type ToolCall = z.infer<typeof ToolCall>

export const ChatMessage = z.strictObject({
  role: z.enum(['system', 'developer', 'user', 'assistant', 'tool']),
  content: text,
  /** Of an assistant: what it called. */
  tool_calls: z.optional(z.array(ToolCall).check(z.minLength(1), z.maxLength(MAX_TOOLS))),
  /** Of a tool: the call that this is the result of. */
  tool_call_id: z.optional(z.string().check(z.maxLength(MAX_NAME_CHARS))),
  /** Of an assistant: what it thought before it said this. */
  reasoning_content: z.optional(text),
})
export type ChatMessage = z.infer<typeof ChatMessage>

/** A bare prompt: a text, or its tokens as the model's own tokenizer makes them, to which nothing is added. */
const Prompt = z.union([
  text,
  z.array(z.int().check(z.nonnegative({ abort: true }))).check(z.minLength(1, { abort: true })),
])
type Prompt = z.infer<typeof Prompt>

/** One prompt, or several that are answered by one answer: choices 0 to n - 1 are those of the first, and so on. */
export const PromptField = z
  .union([Prompt, z.array(Prompt).check(z.minLength(1))], 'must be a text, its token ids, or a list of these')
  .check(z.refine((prompt) => promptsOf(prompt).length <= MAX_PROMPTS, `must be at most ${MAX_PROMPTS} prompts`))

/** Each prompt by itself. */
export function promptsOf(prompt: z.infer<typeof PromptField>): readonly Prompt[] {
  return typeof prompt === 'string' || isTokens(prompt) ? [prompt] : prompt
}

function isTokens(prompt: readonly unknown[]): prompt is number[] {
  return typeof prompt[0] === 'number'
}

/** How tokens are chosen. Names and ranges are OpenAI's; top_k, min_p, repetition_penalty and min_tokens are vLLM's. */
export const SamplingParams = z.strictObject({
  /** Absent: whatever is left of the context. */
  max_tokens: z.optional(z.int().check(z.positive())),
  min_tokens: z._default(z.int().check(z.nonnegative()), 0),
  temperature: z._default(finite.check(z.gte(0), z.lte(2)), 1),
  /** 0: the likeliest token alone. */
  top_p: z._default(finite.check(z.gte(0), z.lte(1)), 1),
  /** 0: off. */
  top_k: z._default(z.int().check(z.nonnegative()), 0),
  min_p: z._default(finite.check(z.gte(0), z.lte(1)), 0),
  /** A whole number of 64 bits with a sign, as far as JSON's readers keep it. */
  seed: z.optional(finite.check(z.multipleOf(1), z.gte(-(2 ** 63)), z.lte(2 ** 63))),
  presence_penalty: z._default(finite.check(z.gte(-2), z.lte(2)), 0),
  frequency_penalty: z._default(finite.check(z.gte(-2), z.lte(2)), 0),
  repetition_penalty: z._default(finite.check(z.gt(0), z.lte(10)), 1),
  /** Token id -> value added to its logit. */
  logit_bias: z.optional(
    z.pipe(
      // Counted before: of a record every entry is looked at, and each fault noted.
      z.looseObject({}).check(
        z.refine((bias) => Object.keys(bias).length <= MAX_LOGIT_BIASES, {
          error: `at most ${MAX_LOGIT_BIASES} entries`,
          abort: true,
        }),
      ),
      z.record(z.string().check(z.regex(/^\d+$/)), finite.check(z.gte(-100), z.lte(100))),
    ),
  ),
  stop: z._default(z.array(z.string().check(z.minLength(1), z.maxLength(1000))).check(z.maxLength(MAX_STOPS)), []),
  stop_token_ids: z._default(z.array(z.int().check(z.nonnegative())).check(z.maxLength(MAX_STOPS)), []),
  /** Number of most likely alternatives reported for each token; absent: no log probabilities at all. */
  logprobs: z.optional(z.int().check(z.gte(0), z.lte(20))),
  response_format: z.optional(
    z.discriminatedUnion('type', [
      z.strictObject({ type: z.literal('text') }),
      z.strictObject({ type: z.literal('json_object') }),
      z.strictObject({
        type: z.literal('json_schema'),
        json_schema: z.looseObject({ schema: z.record(z.string(), z.unknown()) }).check(shallow),
      }),
    ]),
  ),
})
export type SamplingParams = z.infer<typeof SamplingParams>

/** What the model may call, as OpenAI writes it. */
export const Tool = z.strictObject({
  type: z.literal('function'),
  function: z
    .looseObject({
      name: z.string().check(z.regex(/^[\w-]{1,64}$/, 'must be 1 to 64 letters, digits, - and _')),
      description: z.optional(text),
      /** JSON Schema of an object. */
      parameters: z.optional(z.record(z.string(), z.unknown())),
    })
    .check(shallow),
})
export type Tool = z.infer<typeof Tool>

/** What a chat template is given anyway, what would make another text of it, and Jinja's own names. */
const TAKEN_NAMES: readonly string[] = [
  ...['messages', 'tools', 'add_generation_prompt', 'bos_token', 'eos_token'],
  ...['chat_template', 'continue_final_message', 'tokenize'],
  ...['namespace', 'range', 'raise_exception', 'strftime_now', 'true', 'false', 'none', 'True', 'False', 'None'],
]

/** Further variables of the chat template, such as `enable_thinking`: name -> value. */
export const TemplateKwargs = z.record(z.string(), z.unknown()).check(
  z.refine((given) => isShallow(given) && JSON.stringify(given).length <= MAX_TEMPLATE_CHARS, {
    error: `must be at most ${MAX_TEMPLATE_CHARS} characters of JSON, not nested deeper than ${MAX_NESTING} levels`,
    // A name is shorter, and each that is taken is noted.
    abort: true,
  }),
  z.check(({ value, issues }) => {
    for (const name of Object.keys(value)) {
      const isTaken = TAKEN_NAMES.includes(name)
      if (/^[A-Za-z_]\w*$/.test(name) && !isTaken) continue
      const message = isTaken ? 'it cannot be set here' : 'a chat template reads names of letters, digits and _ alone'
      issues.push({ code: 'custom', input: value, path: [name], message })
    }
  }),
)
export type TemplateKwargs = z.infer<typeof TemplateKwargs>

/** `POST /v1/generate`. Exactly one of `messages` and `prompt`. `delta: null` asks, explicitly, for the bare base model. */
export const GenerateRequest = z
  .strictObject({
    delta: z.nullable(Digest),
    messages: z.optional(z.array(ChatMessage).check(z.minLength(1), z.maxLength(2048))),
    prompt: z.optional(PromptField),
    n: z._default(z.int().check(z.positive(), z.lte(16)), 1),
    tools: z.optional(z.array(Tool).check(z.minLength(1), z.maxLength(MAX_TOOLS))),
    /** Names of tools: the answer is a call of one of them, and nothing else. */
    must_call: z.optional(z.array(z.string()).check(z.minLength(1), z.maxLength(MAX_TOOLS))),
    /** false: an answer ends with its first call. */
    parallel_tool_calls: z.optional(z.boolean()),
    chat_template_kwargs: z.optional(TemplateKwargs),
    sampling: SamplingParams,
    /** Milliseconds from arrival after which the request is ended, whatever it has reached. */
    deadline_ms: z.optional(z.int().check(z.positive())),
  })
  .check(
    z.refine((request) => (request.messages === undefined) !== (request.prompt === undefined), {
      message: 'give exactly one of messages and prompt',
    }),
    z.refine(({ messages, tools, must_call: names = [] }) => {
      if (tools && !messages) return false
      return names.every((name) => tools?.some((tool) => tool.function.name === name))
    }, 'tools go with messages, and must_call names some of them'),
    z.refine((request) => !request.chat_template_kwargs || request.messages, 'chat_template_kwargs go with messages'),
    z.refine(({ must_call, sampling }) => !must_call || !sampling.response_format, {
      message: 'give at most one of must_call and response_format',
    }),
  )
export type GenerateRequest = z.infer<typeof GenerateRequest>

function isJsonObject(text: string): boolean {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null && !Array.isArray(value) && isShallow(value)
  } catch {
    return false
  }
}

/** Copies nothing on its way: a request may be megabytes of brackets. */
function isShallow(value: unknown, levels = MAX_NESTING): boolean {
  if (typeof value !== 'object' || value === null) return true
  if (levels === 0) return false
  for (const one of Array.isArray(value) ? value : Object.values(value)) if (!isShallow(one, levels - 1)) return false
  return true
}

/** How many choices the answer to a request has. */
export function choicesOf({ prompt, n }: Pick<GenerateRequest, 'prompt' | 'n'>): number {
  return n * (prompt === undefined ? 1 : promptsOf(prompt).length)
}

/** Where a delta was when its request arrived: in the running batch, in host memory, or on disk. */
export const Tier = z.enum(['device', 'host', 'disk'])
export type Tier = z.infer<typeof Tier>

/** One delta that a backend holds, in the fastest tier it is in. What an engine does not know of it is absent. */
export const ResidencyEntry = z.object({
  digest: Digest,
  tier: Tier,
  /** Size on the backend's disk. */
  bytes: z.optional(z.int()),
  /** Milliseconds since the epoch. */
  last_used_ms: z.optional(z.number()),
})
export type ResidencyEntry = z.infer<typeof ResidencyEntry>

/** The answer to `GET /v1/residency`. */
export const Residency = z.object({ adapters: z.array(ResidencyEntry) })

const logprob = z.object({
  token: z.string(),
  /** The token's own, where it is a part of a character and has no text: `token` only names them then. */
  bytes: z.optional(z.array(z.int())),
  id: z.int(),
  logprob: z.number(),
})

/** One sampled token with its log probability and the most likely alternatives, most likely first. */
export const TokenLogprob = z.object({
  ...logprob.shape,
  top: z.array(logprob),
  /** Characters (code points) of the choice's text before the token. */
  offset: z.optional(z.int()),
})
export type TokenLogprob = z.infer<typeof TokenLogprob>

export const FinishReason = z.enum(['stop', 'length', 'deadline', 'tool_calls'])
export type FinishReason = z.infer<typeof FinishReason>

export const Usage = z.object({
  prompt_tokens: z.int(),
  /** Of the prompt's tokens, those that were not computed again. */
  cached_tokens: z.int(),
  completion_tokens: z.int(),
})
export type Usage = z.infer<typeof Usage>

/**
 * The answer to `POST /v1/generate` is newline-delimited JSON: these events, ending with `done` or `error`, and empty lines while
 * there is none for long.
 */
export const GenerateEvent = z.discriminatedUnion('event', [
  z.object({
    event: z.literal('started'),
    base: z.string(),
    delta: z.nullable(Digest),
    tier: z.nullable(Tier),
    prompt_tokens: z.int(),
    /** Of the first prompt's tokens, those that are not computed again; absent where the engine says it at the end alone. */
    cached_tokens: z.optional(z.int()),
  }),
  /** Text of choice `index` that is now certain: possibly of several tokens, possibly empty (with logprobs). */
  z.object({
    event: z.literal('text'),
    index: z.int(),
    text: z.string(),
    tokens: z.int(),
    logprobs: z.optional(z.array(TokenLogprob)),
  }),
  /** A call that the model has written in full: its text is in no `text`, its tokens are. */
  z.object({ event: z.literal('tool_call'), index: z.int(), call: ToolCall }),
  z.object({ event: z.literal('finished'), index: z.int(), reason: FinishReason }),
  z.object({
    event: z.literal('done'),
    usage: Usage,
    /** The fullest step that this request took part in. */
    batch: z.object({ rows: z.int(), deltas: z.int() }),
    queue_ms: z.number(),
    ttft_ms: z.number(),
    total_ms: z.number(),
  }),
  z.object({ event: z.literal('error'), error: z.string(), message: z.string(), param: z.optional(z.string()) }),
])
export type GenerateEvent = z.infer<typeof GenerateEvent>

/** `POST /v1/embeddings`: mean-pooled last hidden state, L2-normalised, one vector for each input. */
export const EmbedRequest = z.strictObject({
  delta: z.nullable(Digest),
  input: z.array(text).check(z.minLength(1), z.maxLength(MAX_EMBED_INPUTS)),
  /** Milliseconds from arrival after which the request is refused with `deadline_exceeded`, whatever it has reached. */
  deadline_ms: z.optional(z.int().check(z.positive())),
})
export type EmbedRequest = z.infer<typeof EmbedRequest>

export const EmbedResponse = z.object({ embeddings: z.array(z.array(z.number())), prompt_tokens: z.int() })
export type EmbedResponse = z.infer<typeof EmbedResponse>

/** `GET /v1/base`: what this backend serves; needed to publish an adapter for it. */
export const BackendInfo = z.object({
  base: BaseModel,
  engine: z.string(),
  device: z.string(),
  weights: z.string(),
  context_tokens: z.int(),
  max_batch: z.int(),
  max_delta_bytes: z.int(),
  /** The largest rank of a module that it applies. */
  max_rank: z._default(z.int(), MAX_RANK),
  /** Modules of the base, by `targetName`, that it cannot change. */
  fixed_modules: z._default(z.array(z.string()), []),
})
export type BackendInfo = z.infer<typeof BackendInfo>

/** Every refusal of a backend: HTTP status by code, and one sentence. */
export const ERROR_STATUS = {
  bad_request: 400,
  context_length_exceeded: 400,
  unauthorized: 401,
  forbidden: 403,
  not_found: 404,
  adapter_missing: 409,
  wrong_base: 412,
  too_large: 413,
  digest_mismatch: 422,
  invalid_delta: 422,
  overloaded: 429,
  internal: 500,
  unavailable: 503,
  deadline_exceeded: 504,
} as const
export type ErrorCode = keyof typeof ERROR_STATUS

export const ErrorBody = z.object({
  error: z.string(),
  message: z.string(),
  digest: z.optional(Digest),
  /** The sampling parameter at fault, where it is one, as OpenAI names it. */
  param: z.optional(z.string()),
})
export type ErrorBody = z.infer<typeof ErrorBody>
