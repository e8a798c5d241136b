// What this isolate knows of each backend: what it serves, how busy we keep it, whether it failed of late.
// Knows nothing of tenants or adapters.
import { BackendInfo } from '../../gpu-backend/protocol.ts'
import { ApiError } from '../errors.ts'
import { type BackendState, chooseBackends } from './choose.ts'

const INFO_FRESH_MS = 30_000
const INFO_TIMEOUT_MS = 5_000
const AILING_MS = 5_000

interface Entry {
  inFlight: number
  ailingUntilMs: number
  info: BackendInfo | undefined
  infoUntilMs: number
}

/** One for each isolate. */
export class Backends {
  readonly #entries = new Map<string, Entry>()

  constructor(urls: readonly string[]) {
    for (const url of urls) this.#entries.set(url, { inFlight: 0, ailingUntilMs: 0, info: undefined, infoUntilMs: 0 })
  }

  /** URLs to try for `key`, best first. */
  order(key: string, nowMs: number): string[] {
    const states: BackendState[] = [...this.#entries].map(([url, entry]) => ({ url, ...entry }))
    return chooseBackends(key, states, nowMs)
  }

  requestStarted(url: string): void {
    this.#entry(url).inFlight++
  }

  requestEnded(url: string): void {
    this.#entry(url).inFlight--
  }

  failed(url: string, nowMs: number): void {
    this.#entry(url).ailingUntilMs = nowMs + AILING_MS
  }

  answered(url: string): void {
    this.#entry(url).ailingUntilMs = 0
  }

  /**
   * What the backends serve, from the first that says; all serve one base model.
   * @throws ApiError 503 where none can be asked
   */
  async info(nowMs: number): Promise<BackendInfo> {
    for (const url of this.order('', nowMs)) {
      const info = await this.#tryInfo(url, nowMs)
      if (info) return info
    }
    throw backendUnavailable()
  }

  async #tryInfo(url: string, nowMs: number): Promise<BackendInfo | undefined> {
    const entry = this.#entry(url)
    if (entry.info && entry.infoUntilMs > nowMs) return entry.info
    try {
      const response = await fetch(`${url}/v1/base`, { signal: AbortSignal.timeout(INFO_TIMEOUT_MS) })
      if (!response.ok) throw new Error(`GET /v1/base answered ${response.status}`)
      entry.info = BackendInfo.parse(await response.json())
      entry.infoUntilMs = nowMs + INFO_FRESH_MS
      return entry.info
    } catch (error) {
      console.warn(JSON.stringify({ event: 'backend_info_failed', backend: url, reason: String(error) }))
      this.failed(url, nowMs)
      return undefined
    }
  }

  #entry(url: string): Entry {
    const entry = this.#entries.get(url)
    if (!entry) throw new Error(`unknown backend ${url}`)
    return entry
  }
}

export function backendUnavailable(): ApiError {
  return new ApiError(503, 'backend_unavailable', 'No model server can be reached at the moment: try again shortly.', {
    headers: { 'retry-after': '1' },
  })
}
