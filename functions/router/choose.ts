// Which backends to try for a delta, best first. Pure: what is known of the backends comes in, an order goes out.
// Method: rendezvous hashing (Thaler and Ravishankar, 1998) on the digest, so that an adapter stays where it is resident
// and a backend that joins or leaves moves only its own share; backends over their share of the load come after the
// others (bounded loads, after Mirrokni et al., 2018), ailing ones last.
import { hash32 } from '../hash32.ts'

export interface BackendState {
  readonly url: string
  /** Requests in flight from this isolate. */
  readonly inFlight: number
  /** It failed, and has neither answered nor passed a probe since. */
  readonly ailing: boolean
}

/** A backend may hold this much more than the mean before its adapters spread to the next one. */
const LOAD_FACTOR = 1.25
/** Below this there is no crowd to spread. */
const ALWAYS_ALLOWED = 8

export function chooseBackends(key: string, backends: readonly BackendState[]): string[] {
  const total = backends.reduce((sum, backend) => sum + backend.inFlight, 0)
  const bound = Math.max(ALWAYS_ALLOWED, Math.ceil((LOAD_FACTOR * (total + 1)) / Math.max(1, backends.length)))
  const rank = ({ ailing, inFlight }: BackendState): number => {
    if (ailing) return 2
    return inFlight >= bound ? 1 : 0
  }
  return backends
    .map((backend) => ({ url: backend.url, rank: rank(backend), weight: hash32(`${key} ${backend.url}`) }))
    .sort((a, b) => a.rank - b.rank || b.weight - a.weight || (a.url < b.url ? -1 : 1))
    .map(({ url }) => url)
}
