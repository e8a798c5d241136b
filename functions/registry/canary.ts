// Which of two versions a request gets. Pure: the same unit (an end user, or a request) always gets the same.
import type { Digest } from '../../gpu-backend/protocol.ts'
import { hash32 } from '../hash32.ts'
import type { AliasRow } from './adapters.ts'

/** Weights are thousandths of a name's requests. */
export const WHOLE_WEIGHT = 1000

type Split = Pick<AliasRow, 'digest' | 'canary_digest' | 'canary_weight'>

/** Drawn by the unit and the canary's digest, so that each canary draws its own sample of the users. */
export function chooseVersion(split: Split, unit: string): Digest {
  const { digest, canary_digest: canary, canary_weight: weight } = split
  if (canary === null || weight <= 0) return digest
  return hash32(`${canary} ${unit}`) % WHOLE_WEIGHT < weight ? canary : digest
}
