// The edge in workerd, with R2, D1 and Durable Objects simulated in memory, and tenants and keys as a test wants them.
import { createHash } from 'node:crypto'
import { mkdirSync, mkdtempSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { D1Database as Database, R2Bucket } from '@cloudflare/workers-types'
import { build } from 'esbuild'
import { convertV4MiniflareOptions, Miniflare, Response as MiniflareResponse } from 'miniflare'
import { targetModules } from '../../adapters/base-model.ts'
import { encodeDelta } from '../../adapters/canonical.ts'
import type { DeltaModule } from '../../adapters/delta.ts'
import { migrate } from '../../scripts/start/local-registry.ts'
import { readRuntime } from '../../scripts/start/worker-config.ts'
import { expectDocumented } from './documented.ts'
import { METER_DOUBLE_CLASSES, type MeterDouble } from './meter-doubles.ts'
import { BACKEND_SECRET, BASE_INFO } from './protocol-backend.ts'

declare global {
  /** What the registry is written for: the types of Workers as a whole and those of Node exclude each other. */
  interface D1Database extends Database {}
}

export interface EdgeHarness {
  readonly url: string
  readonly db: D1Database
  readonly deltas: R2Bucket
  /** Whether the data centre's cache has a copy of a delta file. */
  hasCopy(digest: string): Promise<boolean>
  /** Removes the copy from the cache. */
  dropCopy(digest: string): Promise<void>
  /** Puts a copy into the cache that is not what its digest says. */
  damageCopy(digest: string): Promise<void>
  /** Creates a tenant (where it is new) and a key of it. */
  addTenant(tenant: string, key: string, scopes?: string): Promise<void>
  /** `fetch` to a path of the admin API; the body is sent as JSON, the answer parsed. */
  admin(method: string, path: string, body?: object): Promise<{ status: number; body: Record<string, unknown> }>
  /** `fetch` to a path of the edge, with `key` as the bearer; what is answered must be as the OpenAPI document says. */
  call(key: string, path: string, init?: RequestInit): Promise<Response>
  /**
   * POSTs JSON as a client that leaves when `when` has come, or the first of the answer's body: the platform tells the edge, as
   * it does where it is deployed.
   */
  callAndLeave(
    key: string,
    path: string,
    request: { readonly body: string; readonly headers?: Record<string, string> },
    when?: Promise<unknown>,
  ): Promise<void>
  /** Publishes a delta, or a small one made from a seed, and returns its digest. */
  publish(key: string, name: string, delta?: number | Uint8Array<ArrayBuffer>): Promise<string>
  /** Lines that the Worker logged. */
  readonly logs: readonly string[]
  /** The cron trigger, as if it were `nowMs`. */
  sweep(nowMs: number): Promise<void>
  /** Restarts a tenant's meter; what it has stored stays. */
  evictMeter(tenant: string): Promise<void>
  close(): Promise<void>
}

export const ADMIN_KEY = 'the-admin-key-that-tests-use'

/**
 * Stands for the network in front of a deployed Worker: it takes a request back as a whole, where workerd by itself finds out
 * by writing that a client has left.
 */
const LEAVING_CLIENT = `export default {
  async fetch(request, { EDGE, TIME }) {
    const client = new AbortController()
    const answer = EDGE.fetch(request, { signal: client.signal })
    const begun = answer.then(({ body }) => body.getReader().read()).catch(() => undefined)
    await Promise.race([begun, TIME.fetch(request.url)])
    client.abort()
    return new Response()
  },
}`

const REPOSITORY = new URL('../../', import.meta.url)

/**
 * The edge with these variables and secrets beside BACKENDS; the secret that the test backend knows unless told otherwise.
 * Edges that are given one directory as `storage`, each a process of its own, share D1 and R2, as the places of a deployment do.
 */
export async function startEdge(
  backends: string | readonly string[],
  settings: Record<string, string> = {
    POLYLORA_BACKEND_SECRET: BACKEND_SECRET,
    POLYLORA_ADMIN_KEY: ADMIN_KEY,
  },
  {
    meter = 'TenantMeter',
    storage,
    bounded = false,
  }: {
    meter?: 'TenantMeter' | MeterDouble
    storage?: string
    /** Whether it is refused what Cloudflare would refuse it: see bounded-worker.ts. */
    bounded?: boolean
  } = {},
): Promise<EdgeHarness> {
  const logs: string[] = []
  let leaveWhen: Promise<unknown> | undefined
  const runtime = { modules: true, ...(await readRuntime()) }
  const edge = {
    ...runtime,
    name: 'polylora',
    script:
      (await bundle(bounded ? BOUNDED : exported(settings.S3_ENDPOINT ? 'index-s3' : 'index'))) + METER_DOUBLE_CLASSES,
    unsafeDirectSockets: [{ host: '127.0.0.1', port: 0 }],
    bindings: { BACKENDS: typeof backends === 'string' ? backends : [...backends], ...settings },
    r2Buckets: { DELTAS: 'deltas' },
    d1Databases: { DB: 'polylora' },
    durableObjects: { METER: { className: meter, useSQLite: true } },
  }
  const time = async () => {
    await (leaveWhen ?? new Promise(() => {}))
    return new MiniflareResponse()
  }
  const client = {
    ...runtime,
    name: 'client',
    script: LEAVING_CLIENT,
    serviceBindings: { EDGE: 'polylora', TIME: time },
  }
  const miniflare = new Miniflare({
    ...convertV4MiniflareOptions({
      cf: false,
      handleStructuredLogs: ({ message }) => logs.push(message),
      workers: [edge, client],
    }),
    ...(storage ? sharedStorage(storage) : {}),
  })
  await miniflare.ready
  const url = await miniflare.unsafeGetDirectURL()
  const { DB: db, DELTAS: deltas } = await miniflare.getBindings<{ DB: D1Database; DELTAS: R2Bucket }>()
  await migrate(db)

  const call: EdgeHarness['call'] = async (key, path, init = {}) => {
    const headers = new Headers(init.headers)
    headers.set('authorization', `Bearer ${key}`)
    const target = new URL(path, url)
    const response = await fetch(target, { ...init, headers })
    await expectDocumented(init.method ?? 'GET', target.pathname, response)
    return response
  }
  return {
    url: url.origin,
    db,
    deltas,
    async hasCopy(digest) {
      const copies = await (await miniflare.getCaches()).open('polylora-deltas')
      return (await copies.match(copyUrl(digest))) !== undefined
    },
    async dropCopy(digest) {
      const copies = await (await miniflare.getCaches()).open('polylora-deltas')
      await copies.delete(copyUrl(digest))
    },
    async damageCopy(digest) {
      const copies = await (await miniflare.getCaches()).open('polylora-deltas')
      const headers = { 'cache-control': 'max-age=60', 'content-length': '7' }
      await copies.put(copyUrl(digest), new MiniflareResponse('garbage', { headers }))
    },
    logs,
    call,
    async callAndLeave(key, path, { body, headers }, when) {
      leaveWhen = when
      const leaving = await miniflare.getWorker('client')
      const authorization = `Bearer ${key}`
      await leaving.fetch(new URL(path, url).href, { method: 'POST', headers: { ...headers, authorization }, body })
    },
    async addTenant(tenant, key, scopes = 'inference adapters usage') {
      const hash = createHash('sha256').update(key).digest('hex')
      await db.batch([
        db.prepare('INSERT OR IGNORE INTO tenants (id, created_ms) VALUES (?, ?)').bind(tenant, Date.now()),
        db
          .prepare('INSERT INTO api_keys (id, hash, prefix, tenant, scopes, created_ms) VALUES (?, ?, ?, ?, ?, ?)')
          .bind(`key_${hash.slice(0, 12)}`, hash, key.slice(0, 6), tenant, scopes, Date.now()),
      ])
    },
    async admin(method, path, body) {
      const response = await call(ADMIN_KEY, `/admin/v1${path}`, {
        method,
        ...(body ? { body: JSON.stringify(body) } : {}),
      })
      const text = await response.text()
      return { status: response.status, body: text ? JSON.parse(text) : {} }
    },
    async publish(key, name, delta = 1) {
      const bytes = typeof delta === 'number' ? makeDelta(delta) : delta
      const digest = digestOf(bytes)
      const response = await call(key, `/v1/adapters/${name}`, {
        method: 'PUT',
        headers: { 'x-polylora-digest': digest },
        body: bytes,
      })
      if (response.status !== 201) throw new Error(`publishing ${name}: ${response.status} ${await response.text()}`)
      return digest
    },
    async sweep(nowMs) {
      const worker = await miniflare.getWorker()
      const { outcome } = await worker.scheduled({ scheduledTime: new Date(nowMs) })
      if (outcome !== 'ok') throw new Error(`the sweep ended with ${outcome}`)
    },
    evictMeter: (tenant) => miniflare.unsafeEvictDurableObject('polylora', meter, { name: tenant }),
    close: () => miniflare.dispose(),
  }
}

/** What instances need that elect one of them as the owner of D1 and R2. */
function sharedStorage(directory: string) {
  const registry = join(directory, 'instances')
  mkdirSync(registry, { recursive: true })
  return {
    resourcePersistencePath: join(directory, 'shared'),
    isolatedResourcePersistencePath: mkdtempSync(join(directory, 'own-')),
    enableDevRegistry: true,
    unsafeDevRegistryPath: registry,
    unsafeEnableSharedStorage: true,
  }
}

function copyUrl(digest: string): string {
  return `https://deltas.invalid/deltas/${digest.replace(':', '/')}`
}

/** The Worker as it is deployed. */
function exported(index: 'index' | 'index-s3'): string {
  return `export { default, TenantMeter } from './functions/${index}.ts'`
}

const BOUNDED = `
  import worker from './functions/index.ts'
  import { bounded } from './test/support/bounded-worker.ts'
  export { TenantMeter } from './functions/index.ts'
  export default bounded(worker)`

/** The Worker as one module. `wrangler deploy` bundles with the same tool. */
async function bundle(contents: string): Promise<string> {
  const { outputFiles } = await build({
    stdin: { contents, resolveDir: fileURLToPath(REPOSITORY) },
    bundle: true,
    write: false,
    format: 'esm',
    target: 'esnext',
    external: ['cloudflare:*'],
    conditions: ['workerd', 'worker', 'browser'],
  })
  return outputFiles[0]!.text
}

/** Polls until `probe` gives something: what a Worker does after its answer has no other sign. */
export async function waitFor<T>(probe: () => Promise<T | null | undefined | false>): Promise<T> {
  for (;;) {
    const value = await probe()
    if (value) return value
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}

/** A canonical delta for the tests' base, on one projection; each seed gives other bytes. */
export function makeDelta(seed: number, base = BASE_INFO.base, rank = 2): Uint8Array<ArrayBuffer> {
  const path = 'model.layers.0.self_attn.q_proj'
  const { in: columns, out } = targetModules(base).get(path)!
  const module: DeltaModule = {
    rank,
    in: columns,
    out,
    a: Float32Array.from({ length: rank * columns }, (_, i) => Math.sin(seed + i)),
    b: Float32Array.from({ length: rank * out }, (_, i) => Math.cos(seed * 3 + i)),
  }
  return encodeDelta(
    { metadata: { base: base.fingerprint, sourceFormat: 'peft' }, modules: new Map([[path, module]]) },
    base,
  )
}

export function digestOf(bytes: Uint8Array): string {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`
}
