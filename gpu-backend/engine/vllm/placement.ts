// Which of several vLLM servers runs the next sequence. Pure.
// Method: where its delta is loaded, the least busy of these; a delta that is loaded nowhere goes by rendezvous hashing
// (Thaler and Ravishankar, 1998), so that it comes back to the same server; the bare base goes to the least busy.
import { createHash } from 'node:crypto'

export interface Place {
  readonly name: string
  readonly isReady: boolean
  /** Sequences that it runs. */
  readonly running: number
  /** The deltas that these run with. */
  readonly atWork: ReadonlySet<string>
  hasLoaded(digest: string): boolean
}

export interface PlaceLimits {
  /** Sequences on one server at most. */
  readonly rows: number
  /** Different deltas in one batch at most. */
  readonly slots: number
}

/** The server that takes a sequence with `digest` (null: the bare base) now; undefined where none has room. */
export function choosePlace<T extends Place>(
  digest: string | null,
  places: readonly T[],
  limits: PlaceLimits,
): T | undefined {
  const free = places.filter((place) => hasRoom(place, digest, limits))
  const loaded = digest === null ? free : free.filter((place) => place.hasLoaded(digest))
  if (loaded.length > 0) return least(loaded, (place) => place.running)
  return least(free, (place) => -weight(digest ?? '', place.name))
}

function hasRoom(place: Place, digest: string | null, { rows, slots }: PlaceLimits): boolean {
  if (!place.isReady || place.running >= rows) return false
  return digest === null || place.atWork.has(digest) || place.atWork.size < slots
}

function least<T>(items: readonly T[], measure: (item: T) => number): T | undefined {
  let [best, lowest]: [T | undefined, number] = [undefined, Number.POSITIVE_INFINITY]
  for (const item of items) {
    const value = measure(item)
    if (value < lowest) [best, lowest] = [item, value]
  }
  return best
}

function weight(digest: string, name: string): number {
  return createHash('sha256').update(`${digest} ${name}`).digest().readUInt32BE()
}
