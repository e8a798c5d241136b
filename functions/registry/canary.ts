// Which of two versions a request gets. Pure: the same unit (an end user, or a request) always gets the same.
import type { Digest } from '../../gpu-backend/protocol.ts'
import { hash32 } from '../hash32.ts'

interface Split {
  readonly digest: Digest
  readonly canary_digest: Digest | null
  /** Thousandths of the requests that go to the canary. */
  readonly canary_weight: number
}

export const WHOLE_WEIGHT = 1000

/** Drawn by the unit and the canary's digest, so that each canary draws its own sample of the users. */
export function chooseVersion(split: Split, unit: string): Digest {
  const { digest, canary_digest: canary, canary_weight: weight } = split
  if (canary === null || weight <= 0) return digest
  return hash32(`${canary} ${unit}`) % WHOLE_WEIGHT < weight ? canary : digest
}
