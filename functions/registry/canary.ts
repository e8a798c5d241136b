// Which of two versions a request gets. Pure: the same unit (an end user, or a request) always gets the same.

interface Split<Digest> {
  readonly digest: Digest
  readonly canary_digest: Digest | null
  /** Thousandths of the requests that go to the canary. */
  readonly canary_weight: number
}

export const WHOLE_WEIGHT = 1000

/** FNV-1a over the unit and the canary's digest, so that each canary draws its own sample of the users. */
export function chooseVersion<Digest extends string>(split: Split<Digest>, unit: string): Digest {
  const { digest, canary_digest: canary, canary_weight: weight } = split
  if (canary === null || weight <= 0) return digest
  let hash = 0x811c9dc5
  for (const char of `${canary} ${unit}`) hash = Math.imul(hash ^ char.codePointAt(0)!, 0x01000193)
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b)
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35)
  return ((hash ^ (hash >>> 16)) >>> 0) % WHOLE_WEIGHT < weight ? canary : digest
}
