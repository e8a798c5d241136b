import { seededRandom } from './seeded-random.ts'

/** As many logits as a vocabulary has tokens: most are far from the best, some are alike, some forbidden. */
export function randomLogits(seed: number, size: number, spread: number): Float32Array<ArrayBuffer> {
  const random = seededRandom(seed)
  return Float32Array.from({ length: size }, () => {
    const kind = random()
    if (kind < 0.02) return Number.NEGATIVE_INFINITY
    const bell = random() + random() + random() + random() - 2
    return kind < 0.2 ? Math.round(bell * spread) : bell * spread
  })
}
