// A backend's HTTP server over a real engine, and an edge's half of the contract to talk to it.
import { once } from 'node:events'
import { type ClientRequest, type IncomingMessage, request } from 'node:http'
import { afterAll } from 'vitest'
import { type Capability, importCapabilityKey, mintCapability } from '../../gpu-backend/capability.ts'
import type { Engine } from '../../gpu-backend/engine/engine.ts'
import { Metrics } from '../../gpu-backend/metrics.ts'
import { GenerateEvent } from '../../gpu-backend/protocol.ts'
import { type BackendServer, createBackendServer } from '../../gpu-backend/server.ts'
import { listenOnLoopback } from './loopback.ts'
import { workOf } from './work-of.ts'

export const SECRET = 'only the tests of the backend know this'
/** What `fetch` sends here. */
type Body = string | Uint8Array<ArrayBuffer>

const TOKEN_LIFE_MS = 60_000

/** A capability token with everything a test does not speak of filled in: to generate, with the base model. */
export async function token(changes: Partial<Capability> = {}, secret = SECRET): Promise<string> {
  return mintCapability(await importCapabilityKey(secret), {
    work: 'generate',
    tenant: 'acme',
    delta: null,
    request_id: 'request-1',
    expires_ms: Date.now() + TOKEN_LIFE_MS,
    limits: { max_tokens: 1000, max_delta_bytes: 100_000_000 },
    ...changes,
  })
}

export class BackendClient {
  readonly url: string

  constructor(url: string) {
    this.url = url
  }

  async fetch(method: string, path: string, body?: Body, capability?: Partial<Capability> | string): Promise<Response> {
    const bearer =
      typeof capability === 'string' ? capability : await token({ work: workOf(method, path), ...capability })
    const headers = { authorization: `Bearer ${bearer}` }
    return fetch(this.url + path, { method, headers, ...(body === undefined ? {} : { body, duplex: 'half' as const }) })
  }

  /** POST /v1/generate with the token that fits it. */
  generate(body: Record<string, unknown>, capability: Partial<Capability> = {}): Promise<Response> {
    const delta = (body.delta ?? null) as string | null
    return this.fetch('POST', '/v1/generate', JSON.stringify(generation(body)), { delta, ...capability })
  }

  /** PUT /v1/adapters/{digest} with the token that fits it. */
  push(digest: string, bytes: Body, capability: Partial<Capability> = {}): Promise<Response> {
    return this.fetch('PUT', `/v1/adapters/${digest}`, bytes, { delta: digest, ...capability })
  }

  /** What /metrics says of `name`, its labels included; 0 where it says nothing. */
  async figure(name: string): Promise<number> {
    const text = await (await fetch(`${this.url}/metrics`)).text()
    const line = text.split('\n').find((one) => one.startsWith(`${name} `))
    return Number(line?.split(' ').at(-1) ?? 0)
  }

  /** A request whose connection the test holds in its hands. */
  async open(method: string, path: string, capability: Partial<Capability> = {}): Promise<ClientRequest> {
    const headers = {
      authorization: `Bearer ${await token({ work: workOf(method, path), ...capability })}`,
      'content-type': 'application/json',
    }
    // Tests end connections in every way: an error of the connection is what they expect.
    return request(this.url + path, { method, headers }).on('error', () => {})
  }
}

/** A greedy request for a few tokens, with `body` laid over it. */
export function generation(body: Record<string, unknown> = {}): Record<string, unknown> {
  const { sampling, ...rest } = body
  const text = 'prompt' in body || 'messages' in body ? {} : { prompt: 'Hello there' }
  const few = { temperature: 0, max_tokens: 8, min_tokens: 8 }
  const chosen = sampling !== undefined && typeof sampling !== 'object' ? sampling : { ...few, ...(sampling as object) }
  return { delta: null, ...text, ...rest, sampling: chosen }
}

/** The events of an answer, each checked against the contract. */
export async function eventsOf(response: Response): Promise<GenerateEvent[]> {
  const lines = (await response.text()).split('\n').filter(Boolean)
  return lines.map((line) => GenerateEvent.parse(JSON.parse(line)))
}

export function textOf(events: readonly GenerateEvent[]): string {
  return events.map((event) => (event.event === 'text' ? event.text : '')).join('')
}

/** The response to a request of `open`, its body not read yet. */
export async function responseTo(sent: ClientRequest): Promise<IncomingMessage> {
  const [response] = (await once(sent, 'response')) as [IncomingMessage]
  return response
}

/** Serves `engine` on a free port until the test file ends. */
export async function serve(
  engine: Engine,
  patience?: Parameters<typeof createBackendServer>[3],
): Promise<{ client: BackendClient; server: BackendServer }> {
  const server = createBackendServer(engine, await importCapabilityKey(SECRET), new Metrics(engine), patience)
  const url = await listenOnLoopback(server.http)
  afterAll(async () => {
    server.http.closeAllConnections()
    await server.drain()
  })
  return { client: new BackendClient(url), server }
}
