// The Worker with what Cloudflare bounds in one invocation, and workerd by itself does not: the numbers are those of
// Cloudflare's pages on the limits of Workers (paid), D1, R2 and the Cache API. Whoever goes past one gets an error here, too.
// Invocations are told apart by their beginnings: one at a time.
import type {
  CacheStorage,
  D1Database,
  D1PreparedStatement,
  D1Result,
  ExportedHandler,
  R2Bucket,
} from '@cloudflare/workers-types'

const LIMITS = {
  subrequests: 10_000,
  /** Each statement of a batch counted: no page says that it is not. */
  'D1 queries': 1000,
  'cache calls': 1000,
  /** Requests that wait for their answer's headers at once; there a seventh waits for one of the six. */
  waiting: 6,
}
const MAX_PARAMETERS = 100
const MAX_VALUE_BYTES = 2_000_000
/** D1's limit is 50 MB, but an isolate has 128 for all its requests, and a result takes several times its length there. */
const MAX_RESULT_BYTES = 10_000_000
const MAX_DELETED_KEYS = 1000

interface Env {
  readonly DB: D1Database
  readonly DELTAS: R2Bucket
}

const spent = new Map<keyof typeof LIMITS, number>()

function spend(what: keyof typeof LIMITS, amount = 1): void {
  const sum = (spent.get(what) ?? 0) + amount
  spent.set(what, sum)
  if (sum > LIMITS[what]) exceeded(`${what}: ${sum}`)
}

function exceeded(what: string): never {
  console.error(JSON.stringify({ event: 'limit_exceeded', what }))
  throw new Error(`past the limit: ${what}`)
}

/** `target` with its methods replaced by those of `methods` that have their names. */
function replaced<T extends object>(target: T, methods: Record<string, (...values: never[]) => unknown>): T {
  return new Proxy(target, {
    get(_, name) {
      const value: unknown = Reflect.get(target, name)
      return methods[String(name)] ?? (typeof value === 'function' ? value.bind(target) : value)
    },
  })
}

const originals = new WeakMap<D1PreparedStatement, D1PreparedStatement>()

function statement(original: D1PreparedStatement): D1PreparedStatement {
  const counted =
    (run: (...values: never[]) => unknown) =>
    (...values: never[]) => {
      spend('subrequests')
      spend('D1 queries')
      return run.apply(original, values)
    }
  const bounded = replaced(original, {
    bind: (...values: unknown[]) => {
      if (values.length > MAX_PARAMETERS) exceeded(`parameters: ${values.length}`)
      const longest = Math.max(0, ...values.map((value) => (typeof value === 'string' ? value.length : 0)))
      if (longest > MAX_VALUE_BYTES) exceeded(`bytes of a value: ${longest}`)
      return statement(original.bind(...values))
    },
    first: counted(original.first),
    all: async (...values: never[]) => {
      const answer = await (counted(original.all)(...values) as Promise<D1Result>)
      const bytes = JSON.stringify(answer.results).length
      if (bytes > MAX_RESULT_BYTES) exceeded(`bytes of a result: ${bytes}`)
      return answer
    },
    run: counted(original.run),
  })
  originals.set(bounded, original)
  return bounded
}

function boundedEnv<Bindings extends Env>(env: Bindings): Bindings {
  const DB = replaced(env.DB, {
    prepare: (sql: string) => statement(env.DB.prepare(sql)),
    batch: (statements: D1PreparedStatement[]) => {
      spend('subrequests')
      spend('D1 queries', statements.length)
      return env.DB.batch(statements.map((bounded) => originals.get(bounded)!))
    },
  })
  const counted =
    (run: (...values: never[]) => unknown) =>
    (...values: never[]) => {
      spend('subrequests')
      return run.apply(env.DELTAS, values)
    }
  const DELTAS = replaced(env.DELTAS, {
    ...Object.fromEntries((['get', 'head', 'list', 'put'] as const).map((name) => [name, counted(env.DELTAS[name])])),
    delete: (keys: string | string[]) => {
      if (keys.length > MAX_DELETED_KEYS) exceeded(`deleted keys: ${keys.length}`)
      spend('subrequests')
      return env.DELTAS.delete(keys)
    },
  })
  return { ...env, DB, DELTAS }
}

const { fetch: send, caches: stores } = globalThis as typeof globalThis & { caches: CacheStorage }

async function boundedFetch(...request: Parameters<typeof send>): Promise<Response> {
  spend('subrequests')
  spend('waiting')
  try {
    return await send(...request)
  } finally {
    spend('waiting', -1)
  }
}

const { open } = stores

async function openBounded(name: string) {
  const cache = await open.call(stores, name)
  const counted =
    (run: (...values: never[]) => unknown) =>
    (...values: never[]) => {
      spend('cache calls')
      return run.apply(cache, values)
    }
  return replaced(cache, {
    match: counted(cache.match),
    put: counted(cache.put),
    delete: counted(cache.delete),
  })
}

/** `worker`, bounded. */
export function bounded(worker: ExportedHandler<Env>): ExportedHandler<Env> {
  const { fetch, scheduled } = worker as Required<ExportedHandler<Env>>
  globalThis.fetch = boundedFetch
  stores.open = openBounded
  return {
    fetch(request, env, context) {
      spent.clear()
      return fetch(request, boundedEnv(env), context)
    },
    scheduled(event, env, context) {
      spent.clear()
      return scheduled(event, boundedEnv(env), context)
    },
  }
}
