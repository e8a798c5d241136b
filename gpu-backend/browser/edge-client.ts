// The edge as the browser asks it: what there is, and bytes from an offset on. Knows no cache and no model.
// Invariant: the API key is in no URL.
import * as z from 'zod/mini'
import { Digest } from '../protocol.ts'
import { BrowserError } from './browser-error.ts'
import { BrowserModel } from './manifest.ts'

const Refusal = z.object({ error: z.object({ message: z.string(), code: z.string() }) })
/** Where the manifest of the base model is. */
export const MODEL_PATH = '/v1/browser/model'
export const AdapterVersion = z.object({ id: z.string(), digest: Digest, bytes: z.int() })
export type AdapterVersion = z.infer<typeof AdapterVersion>

const NAME = /^[a-z0-9][a-z0-9._-]*\/[a-z0-9][a-z0-9._-]*$/

/** Where the edge has the adapter `tenant/name`. @throws BrowserError where that is no adapter's name */
export function adapterPath(name: string): string {
  if (NAME.test(name)) return `/v1/adapters/${name}`
  throw new BrowserError('adapter_not_found', `${JSON.stringify(name)} is not of the form tenant/adapter.`)
}

export class EdgeClient {
  readonly #edge: string
  readonly #apiKey: string

  constructor(edge: string, apiKey: string) {
    this.#edge = edge
    this.#apiKey = apiKey
  }

  url(path: string): string {
    return new URL(path, this.#edge).href
  }

  /** The path that `url` is the URL of; undefined where it is another edge's. */
  pathOf(url: string): string | undefined {
    const root = this.url('/')
    return url.startsWith(root) ? url.slice(root.length - 1) : undefined
  }

  /** The base model as browsers run it. @throws BrowserError `browser_model_not_found` where the operator published none */
  model(): Promise<BrowserModel> {
    return this.#json(MODEL_PATH, BrowserModel)
  }

  /** The version that a name points at. */
  adapter(name: string): Promise<AdapterVersion> {
    return this.#json(adapterPath(name), AdapterVersion)
  }

  /**
   * The file's bytes from `start` on, as far as the connection holds: ends early, without an error, where it breaks or the
   * signal aborts.
   * @throws BrowserError as the edge refuses
   */
  async *bytes(path: string, start: number, signal?: AbortSignal): AsyncGenerator<Uint8Array<ArrayBuffer>> {
    const range = start > 0 ? { range: `bytes=${start}-` } : undefined
    const response = await this.#fetch(path, range, signal).catch((error: unknown) => {
      if (error instanceof BrowserError && error.code === 'network') return undefined
      throw error
    })
    if (!response?.body) return
    // A host that ignores ranges sends everything once more.
    let skip = response.status === 206 ? 0 : start
    const reader = response.body.getReader()
    try {
      for (;;) {
        const { value } = await reader.read().catch(() => ({ value: undefined }))
        if (!value) return
        const fresh = value.subarray(Math.min(skip, value.length))
        skip -= value.length - fresh.length
        if (fresh.length > 0) yield fresh
      }
    } finally {
      await reader.cancel().catch(() => undefined)
    }
  }

  async #json<T>(path: string, schema: z.ZodMiniType<T>): Promise<T> {
    const response = await this.#fetch(path)
    const parsed = schema.safeParse(await response.json().catch(() => undefined))
    if (parsed.success) return parsed.data
    throw new BrowserError('network', `${this.url(path)} answered with something else than a Polylora edge would.`)
  }

  async #fetch(path: string, headers: Record<string, string> = {}, signal?: AbortSignal): Promise<Response> {
    const response = await fetch(this.url(path), {
      headers: { ...headers, authorization: `Bearer ${this.#apiKey}` },
      // Cache Storage keeps the files; the HTTP cache would keep them twice.
      cache: 'no-store',
      ...(signal ? { signal } : {}),
    }).catch((error: unknown) => {
      throw new BrowserError('network', `The edge at ${this.#edge} cannot be reached (${String(error)}).`)
    })
    if (response.ok) return response
    const refusal = Refusal.safeParse(await response.json().catch(() => undefined))
    // An edge that is failing, or busy, refuses nothing: it is as good as one that cannot be reached.
    const isPassing = response.status === 429 || response.status >= 500
    if (refusal.success) {
      const { code, message } = refusal.data.error
      throw new BrowserError(isPassing ? 'network' : code, message)
    }
    throw new BrowserError('network', `The edge answered ${path} with HTTP status ${response.status}.`)
  }
}
