// A backend for tests of the edge: speaks gpu-backend/protocol.ts over HTTP, checks tokens and digests as a real one does,
// and says a scripted answer instead of running a model. Faults are switched on by the test.
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import {
  type Capability,
  type CapabilityKey,
  importCapabilityKey,
  verifyCapability,
} from '../../gpu-backend/capability.ts'
import {
  BASE_HEADER,
  type BackendInfo,
  choicesOf,
  EmbedRequest,
  ERROR_STATUS,
  type ErrorCode,
  type GenerateEvent,
  GenerateRequest,
  type ToolCall,
} from '../../gpu-backend/protocol.ts'
import { KEPT_CONNECTIONS } from './kept-connections.ts'
import { closeServer, listenOnLoopback } from './loopback.ts'
import { workOf } from './work-of.ts'

export const BACKEND_SECRET = 'a secret that only tests know, 32+'

export const BASE_INFO: BackendInfo = {
  base: {
    fingerprint: `sha256:${'b'.repeat(64)}`,
    name: 'tiny-base',
    architecture: 'LlamaForCausalLM',
    layers: 2,
    hidden_size: 8,
    intermediate_size: 16,
    heads: 2,
    kv_heads: 1,
    head_dim: 4,
    vocab_size: 32,
    tied_embeddings: true,
  },
  engine: 'scripted',
  device: 'none',
  weights: 'none',
  context_tokens: 2048,
  max_batch: 8,
  max_delta_bytes: 1_000_000,
  max_rank: 64,
  fixed_modules: [],
}

/** What the next answers do; fields may be changed at any time. */
interface Behaviour {
  /** Words said by the base; an adapter says its digest first. */
  words: string[]
  /** Calls of tools after the words, of an answer to a request with tools. */
  calls: ToolCall[]
  /** What `/readyz` says. */
  ready: boolean
  /** Fingerprint of the base that it serves. */
  base: string
  /** Wait for this before a generation or an embedding is answered at all. */
  hold: Promise<void> | undefined
  /** Refuse every generation and embedding with this code. */
  refuse: ErrorCode | undefined
  /** The parameter at fault, in a refusal and in an `error` event. */
  param: string | undefined
  /** Cut the connection after so many words. */
  cutAfter: number | undefined
  /** Send an `error` event after so many words. */
  failAfter: number | undefined
  /** Of that event. */
  failCode: ErrorCode
  /** Wait for this before each word. */
  pace: (() => Promise<void>) | undefined
  /** Forget a delta at once after taking it. */
  forgetful: boolean
  /** Milliseconds that texts take to be embedded. */
  embedMs: (input: readonly string[]) => number
  /** Cut the connection where nothing of what was written is read for so long; milliseconds. */
  maxUnreadMs: number | undefined
}

function usual(): Behaviour {
  return {
    words: ['Hello', ' from', ' the', ' model', '.'],
    calls: [],
    ready: true,
    base: BASE_INFO.base.fingerprint,
    hold: undefined,
    refuse: undefined,
    param: undefined,
    cutAfter: undefined,
    failAfter: undefined,
    failCode: 'internal',
    pace: undefined,
    forgetful: false,
    embedMs: () => 0,
    maxUnreadMs: undefined,
  }
}

export class ProtocolBackend {
  readonly behaviour: Behaviour = usual()
  readonly deltas = new Map<string, Buffer>()
  /** Every generation that was begun, with what it was asked and the tokens that were made. */
  readonly generations: {
    request: GenerateRequest
    requestId: string
    tenant: string
    tokens: number
    closed: boolean
  }[] = []
  /** Deltas that arrived, in order. */
  readonly pushes: string[] = []
  readonly #server: Server
  #key: CapabilityKey | undefined
  #url = ''
  #gone = false
  /** Generations asked for, refused ones included. */
  asked = 0
  /** Embeddings asked for. */
  embedded = 0

  constructor() {
    this.#server = createServer(KEPT_CONNECTIONS, (request, response) => {
      this.#answer(request, response).catch(() => response.destroy())
    })
  }

  get url(): string {
    return this.#url
  }

  async listen(): Promise<this> {
    this.#key = await importCapabilityKey(BACKEND_SECRET)
    this.#url = await listenOnLoopback(this.#server)
    return this
  }

  /** Behaves as usual again. */
  reset(): void {
    Object.assign(this.behaviour, usual())
  }

  /** Takes no connection any more, and cuts the answers that run once what was said has left. */
  async vanish(): Promise<void> {
    if (this.#gone) return
    this.#gone = true
    this.#server.close()
    this.#server.closeIdleConnections()
  }

  /** At the same address again. */
  async comeBack(): Promise<void> {
    if (this.#server.listening) return
    const { hostname, port } = new URL(this.#url)
    await new Promise<void>((resolve) => this.#server.listen(Number(port), hostname, resolve))
    this.#gone = false
  }

  async close(): Promise<void> {
    await closeServer(this.#server)
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { pathname } = new URL(request.url ?? '/', 'http://localhost')
    if (request.method === 'GET' && pathname === '/v1/base') {
      const base = { ...BASE_INFO.base, fingerprint: this.behaviour.base }
      return json(response, 200, { ...BASE_INFO, base })
    }
    if (request.method === 'GET' && pathname === '/readyz') {
      return json(response, this.behaviour.ready ? 200 : 503, {})
    }
    const token = /^Bearer (.*)$/.exec(request.headers.authorization ?? '')?.[1] ?? ''
    const capability = await verifyCapability(this.#key!, token, Date.now())
    if (!capability) return refuse(response, 'unauthorized', 'bad token')
    const work = workOf(request.method ?? '', pathname)
    if (capability.work !== work) return refuse(response, 'forbidden', 'token is for other work')
    const asked = request.headers[BASE_HEADER]
    if (asked !== undefined && asked !== this.behaviour.base) return refuse(response, 'wrong_base', 'another base')

    if (request.method === 'GET' && pathname === '/v1/residency') {
      if (capability.delta !== null) return refuse(response, 'forbidden', 'token is for a delta')
      return json(response, 200, { adapters: [...this.deltas.keys()].map((digest) => ({ digest, tier: 'host' })) })
    }
    if (request.method === 'HEAD' && pathname.startsWith('/v1/adapters/')) {
      if (capability.delta !== pathname.slice('/v1/adapters/'.length)) {
        return refuse(response, 'forbidden', 'token is for another delta')
      }
      return json(response, this.deltas.has(pathname.slice('/v1/adapters/'.length)) ? 200 : 404, {})
    }
    if (request.method === 'PUT' && pathname.startsWith('/v1/adapters/')) {
      const digest = pathname.slice('/v1/adapters/'.length)
      const bytes = await readAll(request)
      if (capability.delta !== digest) return refuse(response, 'forbidden', 'token is for another delta')
      if (`sha256:${createHash('sha256').update(bytes).digest('hex')}` !== digest) {
        return refuse(response, 'digest_mismatch', 'the bytes hash to something else')
      }
      this.pushes.push(digest)
      if (!this.behaviour.forgetful) this.deltas.set(digest, bytes)
      return json(response, 201, {})
    }
    if (request.method === 'DELETE' && pathname.startsWith('/v1/adapters/')) {
      const digest = pathname.slice('/v1/adapters/'.length)
      if (capability.delta !== digest) return refuse(response, 'forbidden', 'token is for another delta')
      this.deltas.delete(digest)
      return json(response, 200, { digest })
    }
    if (request.method === 'POST' && pathname === '/v1/embeddings') {
      this.embedded++
      const { delta, input } = EmbedRequest.parse(JSON.parse((await readAll(request)).toString()))
      if (capability.delta !== delta) return refuse(response, 'forbidden', 'token is for another delta')
      await this.behaviour.hold
      if (this.behaviour.refuse) return refuse(response, this.behaviour.refuse, 'scripted refusal')
      if (delta && !this.deltas.has(delta)) {
        return json(response, 409, { error: 'adapter_missing', message: 'not resident', digest: delta })
      }
      await new Promise((resolve) => setTimeout(resolve, this.behaviour.embedMs(input)))
      const embeddings = input.map((text) => [text.length, delta ? 1 : 0, 0.5])
      return json(response, 200, { embeddings, prompt_tokens: input.length * 3 })
    }
    if (request.method !== 'POST' || pathname !== '/v1/generate') return refuse(response, 'not_found', 'no such route')
    const body = GenerateRequest.parse(JSON.parse((await readAll(request)).toString()))
    if (capability.delta !== body.delta) return refuse(response, 'forbidden', 'token is for another delta')
    this.asked++
    const behaviour = { ...this.behaviour }
    await behaviour.hold
    if (behaviour.refuse) return refuse(response, behaviour.refuse, 'scripted refusal', behaviour.param)
    if (body.delta && !this.deltas.has(body.delta)) {
      return json(response, 409, { error: 'adapter_missing', message: 'not resident', digest: body.delta })
    }
    await this.#generate(body, capability, behaviour, response)
  }

  async #generate(body: GenerateRequest, capability: Capability, behaviour: Behaviour, response: ServerResponse) {
    const generation = {
      request: body,
      requestId: capability.request_id,
      tenant: capability.tenant,
      tokens: 0,
      closed: false,
    }
    this.generations.push(generation)
    response.on('close', () => {
      generation.closed = true
    })
    response.writeHead(200, { 'content-type': 'application/x-ndjson' })
    const send = (event: GenerateEvent) => response.write(`${JSON.stringify(event)}\n`)
    send({
      event: 'started',
      base: behaviour.base,
      delta: body.delta,
      tier: body.delta ? 'host' : null,
      prompt_tokens: 7,
      cached_tokens: 2,
    })
    const words = [...(body.delta ? [body.delta] : []), ...behaviour.words]
    const wanted = Math.min(words.length, body.sampling.max_tokens ?? words.length)
    for (let position = 0; position < wanted; position++) {
      if (position === behaviour.cutAfter || this.#gone) {
        // What was written has left this process before the connection is torn down.
        await new Promise<void>((resolve) => void response.write('\n', () => setImmediate(resolve)))
        return void response.destroy()
      }
      if (position === behaviour.failAfter) {
        send({ event: 'error', error: behaviour.failCode, message: 'the engine fell over', param: behaviour.param })
        return void response.end()
      }
      await behaviour.pace?.()
      if (generation.closed) return
      for (let index = 0; index < choicesOf(body); index++) {
        const text = words[position]!
        const token = { token: text, id: position, logprob: -0.5 }
        const logprobs = body.sampling.logprobs === undefined ? {} : { logprobs: [{ ...token, top: [token] }] }
        send({ event: 'text', index, text, tokens: 1, ...logprobs })
        generation.tokens++
      }
      if (behaviour.maxUnreadMs !== undefined) await untilRead(response, behaviour.maxUnreadMs)
    }
    for (let index = 0; index < choicesOf(body); index++) {
      const calls = body.tools ? behaviour.calls : []
      for (const call of calls) send({ event: 'tool_call', index, call })
      const whole = calls.length > 0 ? 'tool_calls' : 'stop'
      send({ event: 'finished', index, reason: wanted < words.length ? 'length' : whole })
    }
    const usage = { prompt_tokens: 7, cached_tokens: 2, completion_tokens: generation.tokens }
    send({ event: 'done', usage, batch: { rows: 3, deltas: 2 }, queue_ms: 1.2634, ttft_ms: 5, total_ms: 25 })
    response.end()
  }
}

/** As a backend waits for a reader who takes what was written: so long, or its connection ends. */
async function untilRead(response: ServerResponse, maxUnreadMs: number): Promise<void> {
  if (!response.writableNeedDrain) return
  const over = new AbortController()
  const given = setTimeout(() => response.destroy(), maxUnreadMs)
  const either = ['drain', 'close'].map((event) => once(response, event, { signal: over.signal }))
  await Promise.race(either)
  clearTimeout(given)
  over.abort()
  await Promise.allSettled(either)
}

async function readAll(request: IncomingMessage): Promise<Buffer> {
  const pieces: Buffer[] = []
  for await (const piece of request) pieces.push(piece as Buffer)
  return Buffer.concat(pieces)
}

function json(response: ServerResponse, status: number, body: object): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
}

function refuse(response: ServerResponse, error: ErrorCode, message: string, param?: string): void {
  json(response, ERROR_STATUS[error], { error, message, param })
}
