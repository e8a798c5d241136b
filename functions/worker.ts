// What happens to every request, and which route answers it. Start reading at routes/chat-completions.ts.
// Invariant: every answer has an x-request-id, and every failure is OpenAI's error JSON.
import { Hono } from 'hono'
import { cors } from 'hono/cors'
import { methodNotAllowed } from 'hono/method-not-allowed'
import * as z from 'zod/mini'
import english from 'zod/v4/locales/en.js'
import { REQUEST_ID_HEADER } from '../gpu-backend/protocol.ts'
import { identify } from './auth/identify.ts'
import { type Edge, edgeOnce } from './edge.ts'
import type { EdgeEnv } from './edge-env.ts'
import { type Bindings, ConfigError } from './env.ts'
import { ApiError, errorResponse, unavailable } from './errors.ts'
import { requireLocal } from './local-only.ts'
import { rateHeaders } from './metering/refusal.ts'
import type { Folder, ObjectStore } from './registry/objects.ts'
import { StorageFailed, storageUnavailable } from './registry/storage-failure.ts'
import { adapters } from './routes/adapters.ts'
import { admin } from './routes/admin.ts'
import { browser } from './routes/browser.ts'
import { chatCompletions } from './routes/chat-completions.ts'
import { completions } from './routes/completions.ts'
import { embeddings } from './routes/embeddings.ts'
import { key } from './routes/key.ts'
import { base, models } from './routes/models.ts'
import { reference } from './routes/reference.ts'
import { residency } from './routes/residency.ts'
import { usage } from './routes/usage.ts'
import { sweep } from './sweep.ts'

z.config({
  ...english(),
  customError: ({ code, input }) => (code === 'invalid_type' && input === undefined ? 'it is missing' : undefined),
})

/** What a web page of another origin may read of an answer. */
const EXPOSED_HEADERS = [
  ...[REQUEST_ID_HEADER, 'retry-after', 'x-should-retry', 'x-polylora-adapter', 'x-polylora-replayed'],
  ...['limit', 'remaining', 'reset'].flatMap((what) => [`x-ratelimit-${what}-requests`, `x-ratelimit-${what}-tokens`]),
]
const PREFLIGHT_FRESH_S = 86_400
/** How D1's errors begin. */
const REGISTRY_ERROR = 'D1_'
/** What OpenAI's Agents SDK and Vercel's provider for OpenAI ask unless they are told otherwise. */
const RESPONSES = '/v1/responses'
const CHAT_INSTEAD = 'set the client to chat completions, POST /v1/chat/completions'
const REGISTRY_UNAVAILABLE = 'The registry cannot be reached at the moment: try again shortly.'

/** The Worker over whichever object storage. */
export function createWorker(makeStore: (env: Bindings, folder: Folder) => ObjectStore): ExportedHandler<Bindings> {
  const edgeOf = edgeOnce(makeStore)
  return {
    fetch: createApp(edgeOf).fetch,
    scheduled: async ({ scheduledTime }, env) => sweep(await edgeOf(env), env, scheduledTime),
  }
}

function createApp(edgeOf: (env: Bindings) => Promise<Edge>): Hono<EdgeEnv> {
  const app = new Hono<EdgeEnv>()

  app.use(async (c, next) => {
    c.set('requestId', `req_${crypto.randomUUID().replaceAll('-', '')}`)
    const done = next()
    // Where a client has left, Cloudflare ends what nothing waits for: no account would be closed, and no claim be given up.
    c.executionCtx.waitUntil(done)
    await done
    c.header(REQUEST_ID_HEADER, c.var.requestId)
    // Files by digest say themselves how long they hold.
    if (!c.res.headers.has('cache-control')) c.header('cache-control', 'private, no-store')
    if (!c.var.rate) return
    for (const [name, value] of Object.entries(rateHeaders(c.var.rate))) c.header(name, value)
  })

  app.use(async ({ env, req }, next) => {
    if (env.LOCAL_ONLY) requireLocal(req.url, req.header('origin'))
    await next()
  })

  app.use(
    methodNotAllowed({
      app,
      onMethodNotAllowed: ({ req }, methods) => {
        const allow = methods.join(', ')
        const message = `${req.path} does not take ${req.method}: use ${allow}.`
        return errorResponse(new ApiError(405, 'method_not_allowed', message, { headers: { allow } }))
      },
    }),
  )

  app.get('/healthz', (c) => c.json({ status: 'ok' }))

  app.route('/', reference)

  app.use('/admin/*', async (c, next) => {
    c.set('edge', await edgeOf(c.env))
    await next()
  })
  app.route('/admin/v1', admin)

  // A key travels in a header that no browser adds by itself, so any page may ask; the admin API is for no page.
  app.use('/v1/*', cors({ origin: '*', exposeHeaders: EXPOSED_HEADERS, maxAge: PREFLIGHT_FRESH_S }))

  app.use('/v1/*', async (c, next) => {
    c.set('edge', await edgeOf(c.env))
    await identify(c)
    await next()
  })

  app.route('/v1/chat/completions', chatCompletions)
  app.route('/v1/completions', completions)
  app.route('/v1/embeddings', embeddings)
  app.route('/v1/models', models)
  app.route('/v1/base', base)
  app.route('/v1/key', key)
  app.route('/v1/adapters', adapters)
  app.route('/v1/browser', browser)
  app.route('/v1/usage', usage)
  app.route('/v1/residency', residency)

  app.notFound((c) => {
    const unknown = `Unknown request URL: ${c.req.method} ${c.req.path}`
    const instead = c.req.path.startsWith(RESPONSES) ? CHAT_INSTEAD : 'GET /docs lists what there is'
    return errorResponse(new ApiError(404, 'unknown_url', `${unknown}; ${instead}.`))
  })

  app.onError((error, c) => {
    if (error instanceof ApiError) return errorResponse(error)
    console.error(JSON.stringify({ event: 'unexpected_error', request_id: c.var.requestId, reason: String(error) }))
    return errorResponse(refusalOf(error))
  })

  return app
}

/** What the caller is told of something that should not have happened. */
function refusalOf(error: Error): ApiError {
  if (error instanceof ConfigError) return new ApiError(500, 'misconfigured', error.message)
  if (error instanceof StorageFailed) return storageUnavailable()
  if (error.message.startsWith(REGISTRY_ERROR)) return unavailable('registry_unavailable', REGISTRY_UNAVAILABLE)
  return new ApiError(500, 'internal_error', 'Something went wrong on our side: try again.')
}
