// HTTP in, events out: the routes of a backend. Nothing but a capability token opens a route that does work.
// Knows no engine beyond the seam. Invariant: what a token does not allow is refused before any work.
import { createServer, type Server } from 'node:http'
import { Server as NetServer } from 'node:net'
import { Arrivals } from './arrivals.ts'
import { type Capability, type CapabilityKey, verifyCapability, type Work } from './capability.ts'
import type { Engine, RequestContext } from './engine/engine.ts'
import { BackendError } from './errors.ts'
import {
  type Exchange,
  limitUnread,
  MAX_QUIET_MS,
  MAX_UNREAD_MS,
  sendError,
  sendJson,
  skipBody,
  toBackendError,
} from './exchange.ts'
import { LargeBodies } from './large-bodies.ts'
import { log } from './log.ts'
import type { Metrics } from './metrics.ts'
import { BASE_HEADER, Digest, EmbedRequest, GenerateRequest, REQUEST_ID_HEADER } from './protocol.ts'
import { streamAnswer } from './stream-answer.ts'
import { Uploads, uploadBytes } from './uploads.ts'

/** `digest`: what the path names; empty where it names none. */
type Route = (exchange: Exchange, digest: string) => Promise<void>

/** How the routes of one delta are called. */
const DELTA_ROUTE = '/v1/adapters/{digest}'

const TIMEOUTS = {
  /** Longer than proxies and edges keep an idle connection: a request on one that is closed here at that moment is lost. */
  keepAliveTimeout: 75_000,
  /** An edge sends two gigabytes at 1 MB/s rather than not at all. Whoever has no token is refused before there is a body. */
  requestTimeout: 3_600_000,
}

/** What nginx says of a request whose client left before anything was sent. */
const CLIENT_LEFT_STATUS = 499

export interface BackendServer {
  readonly http: Server
  /** Stops taking requests and resolves once those that run have ended. */
  drain(): Promise<void>
}

/** The server, not yet listening. */
export function createBackendServer(
  engine: Engine,
  key: CapabilityKey,
  metrics: Metrics,
  {
    maxUnreadMs = MAX_UNREAD_MS,
    maxQuietMs = MAX_QUIET_MS,
  }: Partial<Pick<Exchange, 'maxUnreadMs' | 'maxQuietMs'>> = {},
): BackendServer {
  let draining = false
  /** Requests whose answer has not ended. */
  let open = 0
  const uploads = new Uploads(engine.info.max_delta_bytes)
  const arrivals = new Arrivals()
  const largeBodies = new LargeBodies()

  /** What the request's token allows, known before its body is read. */
  const authenticate = async ({ request }: Exchange, work: Work): Promise<Capability> => {
    const token = /^Bearer (\S+)$/.exec(request.headers.authorization ?? '')?.[1]
    const capability = token === undefined ? undefined : await verifyCapability(key, token, Date.now())
    if (!capability)
      throw new BackendError('unauthorized', 'The capability token is missing, wrong or expired: ask through the edge.')
    if (capability.work !== work) {
      throw new BackendError('forbidden', `The capability token is to ${capability.work}, not to ${work}.`)
    }
    if (draining) throw new BackendError('unavailable', 'This backend is shutting down: use another one.')
    checkBase(request.headers[BASE_HEADER])
    return capability
  }

  /** Else one base model would answer in the other's place, as while the base is changed on one backend after another. */
  const checkBase = (asked: string | string[] | undefined): void => {
    const { name, fingerprint } = engine.info.base
    if (asked === undefined || asked === fingerprint) return
    throw new BackendError('wrong_base', `This backend serves ${name}, ${fingerprint}, not ${asked}: use another one.`)
  }

  const authorize = (capability: Capability, delta: string | null): Capability => {
    if (capability.delta !== delta) {
      throw new BackendError(
        'forbidden',
        `The capability token is for ${capability.delta ?? 'the base model'}, not for ${delta ?? 'the base model'}.`,
      )
    }
    return capability
  }

  const generate: Route = async (exchange) => {
    const arrivedMs = performance.now()
    const presented = await authenticate(exchange, 'generate')
    await largeBodies.run(presented.tenant, exchange.request, GenerateRequest, async (request) => {
      const context = requestContext(exchange, authorize(presented, request.delta))
      await streamAnswer(exchange, { engine, metrics, request, arrivedMs }, context)
    })
  }

  const embed: Route = async (exchange) => {
    const presented = await authenticate(exchange, 'embed')
    await largeBodies.run(presented.tenant, exchange.request, EmbedRequest, async (body) => {
      const context = requestContext(exchange, authorize(presented, body.delta))
      const answer = await engine.embed(body, context)
      metrics.tokens(body.delta, { prompt: answer.prompt_tokens })
      sendJson(exchange, 200, answer)
    })
  }

  const admit: Route = async (exchange, given) => {
    const digest = parseDigest(given)
    const capability = authorize(await authenticate(exchange, 'admit'), digest)
    const { request } = exchange
    const maxBytes = Math.min(capability.limits.max_delta_bytes, engine.info.max_delta_bytes)
    const take = () => uploads.run(uploadBytes(request, maxBytes), () => engine.admit(digest, request, maxBytes))
    const isTaken = await arrivals.once(digest, () => engine.has(digest), take)
    if (!isTaken) await skipBody(request, maxBytes)
    sendJson(exchange, 201, { digest })
  }

  const evict: Route = async (exchange, given) => {
    const digest = parseDigest(given)
    authorize(await authenticate(exchange, 'evict'), digest)
    await engine.evict(digest)
    sendJson(exchange, 200, { digest })
  }

  /** So that the edge can bring a delta here before the request that needs it has arrived. */
  const holds: Route = async (exchange, given) => {
    const digest = parseDigest(given)
    authorize(await authenticate(exchange, 'look'), digest)
    sendJson(exchange, engine.has(digest) ? 200 : 404, undefined)
  }

  const residency: Route = async (exchange) => {
    authorize(await authenticate(exchange, 'list'), null)
    sendJson(exchange, 200, { adapters: await engine.residency() })
  }

  /** Fails where only another process can help; while this one is well but cannot serve, `/readyz` says so. */
  const healthy: Route = async (exchange) => {
    engine.checkAlive()
    sendJson(exchange, 200, { status: 'ok' })
  }

  const ready: Route = async (exchange) => {
    if (draining) throw new BackendError('unavailable', 'This backend is shutting down.')
    await engine.ready()
    sendJson(exchange, 200, { status: 'ready' })
  }

  const figures: Route = async ({ response }) => {
    const text = await metrics.render()
    response.writeHead(200, { 'content-type': metrics.contentType }).end(text)
  }

  const routes = new Map<string, Route>([
    ['POST /v1/generate', generate],
    ['POST /v1/embeddings', embed],
    [`HEAD ${DELTA_ROUTE}`, holds],
    [`PUT ${DELTA_ROUTE}`, admit],
    [`DELETE ${DELTA_ROUTE}`, evict],
    ['GET /v1/residency', residency],
    ['GET /v1/base', async (exchange) => sendJson(exchange, 200, engine.info)],
    ['GET /healthz', healthy],
    ['GET /readyz', ready],
    ['GET /metrics', figures],
  ])

  /** A connection that is kept alive, or that nobody has sent anything on yet, would hold up the end until it times out. */
  const endUnused = () => {
    if (draining && open === 0) http.closeAllConnections()
  }

  const http = createServer(TIMEOUTS, async (request, response) => {
    const given = request.headers[REQUEST_ID_HEADER]
    const requestId = typeof given === 'string' && /^[\w-]{1,128}$/.test(given) ? given : crypto.randomUUID()
    const exchange = { request, response, requestId, maxUnreadMs, maxQuietMs }
    let hasLeft = false
    open++
    response.once('close', () => {
      hasLeft = !response.headersSent
      open--
      setImmediate(endUnused)
    })
    const path = (request.url ?? '').split('?', 1)[0]!
    const digest = /^\/v1\/adapters\/([^/]+)$/.exec(path)?.[1]
    const name = digest === undefined ? path : DELTA_ROUTE
    const route = routes.get(`${request.method} ${name}`)
    try {
      if (!route) throw new BackendError('not_found', `There is no ${request.method} ${path} here.`)
      await route(exchange, digest ?? '')
    } catch (error) {
      // A client that leaves before its request is complete has failed nothing here.
      if (error === request.errored) log('info', 'client_left', { request_id: requestId, route: request.url })
      else sendError(exchange, toBackendError(error, exchange))
    }
    // All of the answer is written: what is left is the client's.
    limitUnread(exchange)
    const status = hasLeft ? CLIENT_LEFT_STATUS : response.statusCode
    metrics.request(route ? name.replace('/{digest}', '') : 'unknown', status)
  })

  return {
    http,
    drain: () => {
      draining = true
      return new Promise((resolve) => {
        // Not the HTTP server's own way: it ends connections whose answer is written but has not gone out.
        NetServer.prototype.close.call(http, () => resolve())
        endUnused()
      })
    },
  }
}

function requestContext({ request, response, requestId }: Exchange, capability: Capability): RequestContext {
  const left = new AbortController()
  response.once('close', () => left.abort())
  request.once('aborted', () => left.abort())
  return { requestId, tenant: capability.tenant, maxTokens: capability.limits.max_tokens, signal: left.signal }
}

function parseDigest(given: string): string {
  const parsed = Digest.safeParse(given)
  if (parsed.success) return parsed.data
  throw new BackendError('bad_request', `"${given}" is not a digest: it must be sha256:<64 lower-case hex digits>.`)
}
