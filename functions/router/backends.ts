// What this isolate knows of each backend: what it serves, how busy we keep it, whether it is well, which deltas it has.
// Health comes from outcomes (a request that failed) and from probes (GET /readyz), which ride on requests in the
// background: an isolate without requests needs to know nothing. Knows nothing of tenants or names.
import { BackendInfo, type Digest } from '../../gpu-backend/protocol.ts'
import { type ApiError, unavailable } from '../errors.ts'
import { type BackendState, chooseBackends } from './choose.ts'
import { fewAtOnce } from './few-at-once.ts'

const INFO_FRESH_MS = 30_000
const INFO_TIMEOUT_MS = 5_000
const PROBE_EVERY_MS = 10_000
/** An ailing backend is given work again only after a probe: it is asked more often. */
const PROBE_AILING_EVERY_MS = 1_000
const PROBE_TIMEOUT_MS = 2_000
/** How long a delta that was seen on a backend is believed to be there. A wrong belief costs one answer of 409. */
const RESIDENT_FRESH_MS = 60_000
const MAX_RESIDENT = 10_000

interface Entry {
  inFlight: number
  ailing: boolean
  probedMs: number
  info: BackendInfo | undefined
  infoUntilMs: number
  /** Deltas seen there, and when; the oldest first. */
  readonly resident: Map<Digest, number>
}

/** One for each isolate. */
export class Backends {
  readonly #entries = new Map<string, Entry>()

  constructor(urls: readonly string[]) {
    for (const url of urls) {
      const unknown = { inFlight: 0, ailing: false, probedMs: 0, info: undefined, infoUntilMs: 0 }
      this.#entries.set(url, { ...unknown, resident: new Map() })
    }
  }

  /** URLs to try for `key`, best first. */
  order(key: string): string[] {
    const states: BackendState[] = [...this.#entries].map(([url, { inFlight, ailing }]) => ({ url, inFlight, ailing }))
    return chooseBackends(key, states)
  }

  /** Counts a request until the function that it returns is called, once or more often. */
  claim(url: string): () => void {
    const entry = this.#entry(url)
    entry.inFlight++
    let claimed = true
    return () => {
      if (claimed) entry.inFlight--
      claimed = false
    }
  }

  failed(url: string): void {
    this.#turn(url, true)
  }

  /** It has just refused a request as being for another base than its own: what it said before may be out of date. */
  doesNotServe(url: string, base: string): void {
    const entry = this.#entry(url)
    if (entry.info?.base.fingerprint === base) entry.infoUntilMs = 0
  }

  /** As good as a probe that was passed. */
  answered(url: string, nowMs: number): void {
    this.#turn(url, false)
    this.#entry(url).probedMs = nowMs
  }

  /** The backend has `digest`, as its answer has just shown. */
  sawResident(url: string, digest: Digest, nowMs: number): void {
    const { resident } = this.#entry(url)
    resident.delete(digest)
    resident.set(digest, nowMs)
    if (resident.size > MAX_RESIDENT) resident.delete(resident.keys().next().value!)
  }

  isResident(url: string, digest: Digest, nowMs: number): boolean {
    const seenMs = this.#entry(url).resident.get(digest)
    return seenMs !== undefined && nowMs - seenMs < RESIDENT_FRESH_MS
  }

  forgetResident(url: string, digest: Digest): void {
    this.#entry(url).resident.delete(digest)
  }

  /** Asks those whose last probe is old whether they take requests. Never rejects. */
  async probe(nowMs: number): Promise<void> {
    const due = [...this.#entries].filter(([, { ailing, probedMs }]) => {
      return nowMs - probedMs >= (ailing ? PROBE_AILING_EVERY_MS : PROBE_EVERY_MS)
    })
    await fewAtOnce(due, ([url, entry]) => this.#probe(url, entry, nowMs))
  }

  /**
   * What the backends serve, from the first that says: one base model, unless it is being changed. Where none says it now, what
   * one said last: a backend that is slow to say it may well answer, and one that is gone refuses by itself.
   * @throws ApiError 503 where none has ever said
   */
  async info(nowMs: number): Promise<BackendInfo> {
    const urls = this.order('')
    for (const url of urls) {
      const info = await this.#tryInfo(url, nowMs)
      if (info) return info
    }
    const known = urls.map((url) => this.#entry(url).info).find((info) => info !== undefined)
    if (known) return known
    throw backendUnavailable()
  }

  async #probe(url: string, entry: Entry, nowMs: number): Promise<void> {
    entry.probedMs = nowMs
    const ready = await fetch(`${url}/readyz`, { signal: AbortSignal.timeout(PROBE_TIMEOUT_MS) })
      .then(async (response) => {
        await response.body?.cancel()
        return response.ok
      })
      .catch(() => false)
    this.#turn(url, !ready)
  }

  /** Whoever watches the log is told of each change, whether a probe or a request meets it first. */
  #turn(url: string, ailing: boolean): void {
    const entry = this.#entry(url)
    if (ailing === entry.ailing) return
    entry.ailing = ailing
    console.warn(JSON.stringify({ event: ailing ? 'backend_ailing' : 'backend_recovered', backend: url }))
  }

  async #tryInfo(url: string, nowMs: number): Promise<BackendInfo | undefined> {
    const entry = this.#entry(url)
    if (entry.info && entry.infoUntilMs > nowMs) return entry.info
    // This request asks; the others go on with what is known meanwhile.
    entry.infoUntilMs = nowMs + INFO_TIMEOUT_MS
    try {
      const response = await fetch(`${url}/v1/base`, { signal: AbortSignal.timeout(INFO_TIMEOUT_MS) })
      if (!response.ok) throw new Error(`GET /v1/base answered ${response.status}`)
      entry.info = BackendInfo.parse(await response.json())
      entry.infoUntilMs = nowMs + INFO_FRESH_MS
      return entry.info
    } catch (error) {
      console.warn(JSON.stringify({ event: 'backend_info_failed', backend: url, reason: String(error) }))
      this.failed(url)
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
  return unavailable('backend_unavailable', 'No model server can be reached at the moment: try again shortly.')
}
