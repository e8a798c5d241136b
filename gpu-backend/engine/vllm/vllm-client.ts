// One vLLM server's HTTP API: the calls that the engine makes, each answer checked by a schema.
// Knows no adapters beyond a name and a path, and no policy. Invariant: a call ends with an answer, VllmRefusal or VllmLost.
import { type ClientRequest, type IncomingMessage, type RequestOptions, request } from 'node:http'
import { request as requestOverTls } from 'node:https'
import * as z from 'zod/mini'

/** Where a server listens: a URL, or a socket in a directory that only this user may enter. */
export type VllmAddress = { readonly url: string } | { readonly socketPath: string }

/** vLLM understood the request and will not do it. Its message is a part of a sentence. */
export class VllmRefusal extends Error {
  override readonly name = 'VllmRefusal'
  readonly status: number

  constructor(status: number, message: string) {
    super(message)
    this.status = status
  }
}

/** The server cannot be reached, broke off, or its engine is dead: another one may do the request. */
export class VllmLost extends Error {
  override readonly name = 'VllmLost'
}

/** The server took the call and has said nothing since, for as long as one waits. */
export class VllmStalled extends VllmLost {}

/** Longest answer of a call that is not a stream, and longest event of one that is. */
const MAX_ANSWER_BYTES = 64 * 2 ** 20
/** For calls that only ask. */
const ASK_TIMEOUT_MS = 10_000
/** Loading and generating take as long as they take; but a server that says nothing for so long has come to a standstill. */
export const STALL_MS = 5 * 60_000

const ErrorAnswer = z.object({ error: z.object({ message: z.string(), code: z.optional(z.nullable(z.number())) }) })
const Models = z.object({
  data: z.array(
    z.object({
      id: z.string(),
      root: z.optional(z.nullable(z.string())),
      parent: z.optional(z.nullable(z.string())),
      max_model_len: z.optional(z.nullable(z.int())),
    }),
  ),
})
export type VllmModel = z.infer<typeof Models>['data'][number]
const Tokens = z.object({ tokens: z.array(z.int()) })

/** With `return_token_ids` and `return_tokens_as_token_ids`: tokens are named `token_id:123`. */
const CompletionChunk = z.object({
  choices: z.array(
    z.object({
      token_ids: z.optional(z.nullable(z.array(z.int()))),
      logprobs: z.optional(
        z.nullable(
          z.object({
            // A number that is none comes as null.
            token_logprobs: z.array(z.nullable(z.number())),
            top_logprobs: z.array(z.nullable(z.record(z.string(), z.nullable(z.number())))),
          }),
        ),
      ),
      finish_reason: z.optional(z.nullable(z.string())),
    }),
  ),
  usage: z.optional(
    z.nullable(
      z.object({
        prompt_tokens_details: z.optional(z.nullable(z.object({ cached_tokens: z.optional(z.nullable(z.int())) }))),
      }),
    ),
  ),
})
export type CompletionChunk = z.infer<typeof CompletionChunk>

export class VllmClient {
  readonly #address: VllmAddress
  readonly #headers: Readonly<Record<string, string>>
  readonly #stallMs: number

  constructor(address: VllmAddress, apiKey: string | undefined, stallMs = STALL_MS) {
    this.#address = address
    this.#stallMs = stallMs
    this.#headers = apiKey === undefined ? {} : { authorization: `Bearer ${apiKey}` }
  }

  /** Resolves when the server is up and its engine alive. */
  async health(): Promise<void> {
    await this.#ask('GET', '/health')
  }

  /** The base models that it serves, then the adapters that it knows. */
  async models(): Promise<VllmModel[]> {
    return parse(Models, await this.#ask('GET', '/v1/models')).data
  }

  /** Token ids that its own tokenizer makes of `text`. */
  async tokenize(model: string, text: string): Promise<number[]> {
    return parse(Tokens, await this.#ask('POST', '/tokenize', { model, prompt: text })).tokens
  }

  /** Log probabilities of the `count` likeliest tokens after `prompt`, by `token_id:123`. */
  async likeliest(model: string, prompt: readonly number[], count: number): Promise<Readonly<Record<string, number>>> {
    const body = { model, prompt, max_tokens: 1, temperature: 0, logprobs: count, return_tokens_as_token_ids: true }
    const { choices } = parse(CompletionChunk, await this.#call('POST', '/v1/completions', body))
    const top = Object.entries(choices[0]?.logprobs?.top_logprobs[0] ?? {})
    return Object.fromEntries(top.map(([name, logprob]) => [name, logprob ?? Number.NEGATIVE_INFINITY]))
  }

  /** Loads the PEFT directory `path`, as the server sees it, under `name`, which must be new. */
  async loadAdapter(name: string, path: string, signal?: AbortSignal): Promise<void> {
    await this.#call('POST', '/v1/load_lora_adapter', { lora_name: name, lora_path: path }, signal)
  }

  async unloadAdapter(name: string, signal?: AbortSignal): Promise<void> {
    await this.#call('POST', '/v1/unload_lora_adapter', { lora_name: name }, signal)
  }

  /** Its figures in Prometheus' text format. */
  metrics(): Promise<string> {
    return this.#ask('GET', '/metrics')
  }

  /** Starts a completion; resolves with its chunks once the server has taken it. Aborting ends it there. */
  async complete(body: Record<string, unknown>, signal: AbortSignal): Promise<AsyncGenerator<CompletionChunk>> {
    const response = await this.#send('POST', '/v1/completions', body, signal)
    if (response.statusCode !== 200) throw await this.#failure(response.statusCode ?? 0, await readText(response))
    return this.#chunks(response)
  }

  /** A call that only asks. */
  #ask(method: string, path: string, body?: unknown): Promise<string> {
    return this.#call(method, path, body, AbortSignal.timeout(ASK_TIMEOUT_MS))
  }

  /** The chunks of a streamed completion up to `[DONE]`. Leaving early ends the connection, and with it the request. */
  async *#chunks(response: IncomingMessage): AsyncGenerator<CompletionChunk> {
    try {
      for await (const data of serverSentData(response)) {
        if (data === '[DONE]') return
        const value = tryParseJson(data)
        const failed = ErrorAnswer.safeParse(value)
        if (failed.success) throw await this.#failure(failed.data.error.code ?? 500, data)
        yield CompletionChunk.parse(value)
      }
    } catch (error) {
      // A connection that breaks is Node's own error.
      throw error instanceof Error && 'code' in error ? new VllmLost(error.message) : error
    }
    throw new VllmLost('the answer broke off')
  }

  async #call(method: string, path: string, body?: unknown, signal?: AbortSignal): Promise<string> {
    const response = await this.#send(method, path, body, signal)
    const text = await readText(response)
    if (response.statusCode !== 200) throw await this.#failure(response.statusCode ?? 0, text, path)
    return text
  }

  /** Whose fault an error is: a 4xx, or any while the server is well, is the request's. */
  async #failure(status: number, text: string, path?: string): Promise<VllmRefusal | VllmLost> {
    const parsed = ErrorAnswer.safeParse(tryParseJson(text))
    const message = parsed.success ? clause(parsed.data.error.message) : `status ${status}`
    if (status >= 400 && status < 500) return new VllmRefusal(status, message)
    if (path === '/health') return new VllmLost(message)
    return this.health().then(
      () => new VllmRefusal(status, message),
      () => new VllmLost(message),
    )
  }

  #send(method: string, path: string, body: unknown, signal: AbortSignal | undefined): Promise<IncomingMessage> {
    const text = body === undefined ? undefined : JSON.stringify(body)
    const headers = {
      ...this.#headers,
      ...(text === undefined ? {} : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) }),
    }
    // A connection for each request: kept ones are closed by the server just as they are used again.
    const options = { method, headers, agent: false as const, ...(signal ? { signal } : {}) }
    return new Promise((resolve, reject) => {
      let answer: IncomingMessage | undefined
      const onAnswer = (response: IncomingMessage) => {
        answer = response
        resolve(response)
      }
      const sent: ClientRequest =
        'url' in this.#address
          ? requestTo(this.#address.url, path, options, onAnswer)
          : request({ ...options, path, socketPath: this.#address.socketPath }, onAnswer)
      sent.once('error', (error) => reject(error instanceof VllmLost ? error : new VllmLost(error.message)))
      sent.setTimeout(this.#stallMs, () => {
        const stalled = new VllmStalled(`the server said nothing for ${this.#stallMs / 1000} s`)
        // Whoever reads an answer that has begun hears of it there.
        answer?.destroy(stalled)
        sent.destroy(stalled)
      })
      sent.end(text)
    })
  }
}

/** A request to `path` below a server's URL, which may have a path of its own. */
function requestTo(
  server: string,
  path: string,
  options: RequestOptions,
  onAnswer: (response: IncomingMessage) => void,
): ClientRequest {
  const url = new URL(server.replace(/\/*$/, '') + path)
  return url.protocol === 'https:' ? requestOverTls(url, options, onAnswer) : request(url, options, onAnswer)
}

/** What vLLM says in several sentences or lines, to go on with in one of ours. */
function clause(text: string): string {
  return text
    .trim()
    .replace(/[.;:]?\s*\n\s*|\.\s+/g, '; ')
    .replace(/[.;:\s]+$/, '')
}

async function readText(response: IncomingMessage): Promise<string> {
  const pieces: Buffer[] = []
  let length = 0
  try {
    for await (const piece of response as AsyncIterable<Buffer>) {
      length += piece.length
      if (length > MAX_ANSWER_BYTES) throw new Error(`an answer of more than ${MAX_ANSWER_BYTES} bytes`)
      pieces.push(piece)
    }
  } catch (error) {
    throw error instanceof VllmLost ? error : new VllmLost((error as Error).message)
  }
  return Buffer.concat(pieces).toString()
}

/** The data of each server-sent event; vLLM writes each on one line. */
async function* serverSentData(response: IncomingMessage): AsyncGenerator<string> {
  let rest = ''
  response.setEncoding('utf8')
  for await (const piece of response as AsyncIterable<string>) {
    rest += piece
    if (rest.length > MAX_ANSWER_BYTES) throw new VllmLost('an event without an end')
    const lines = rest.split('\n')
    rest = lines.pop() ?? ''
    for (const line of lines) if (line.startsWith('data:')) yield line.slice('data:'.length).trim()
  }
}

function parse<T>(schema: z.ZodMiniType<T>, text: string): T {
  const parsed = schema.safeParse(tryParseJson(text))
  if (parsed.success) return parsed.data
  throw new VllmLost(`an answer that is none of vLLM's: ${text.slice(0, 100)}`)
}

function tryParseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
