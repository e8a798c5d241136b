// How likely each token is, with the sums and the largest of every block of tokens, so that a choice need not look at them all.
// Knows no parameters but the temperature. Invariant: a token is never likelier than its block's largest.

/** Tokens of a block: of 49,152, as many sums are looked at as tokens of a few blocks. */
export const BLOCK_TOKENS = 64

/** Of one row of logits; the last block is filled up with tokens of no probability. */
export interface Likelihoods {
  /** [blocks * BLOCK_TOKENS] f32, which add up to 1 but for rounding; no numbers where the logits are none. */
  readonly probabilities: Float32Array
  /** [blocks] f32 */
  readonly sums: Float32Array
  /** [blocks] f32 */
  readonly maxima: Float32Array
}

/** Blocks that so many tokens take. */
export function blocksOf(vocabSize: number): number {
  return Math.ceil(vocabSize / BLOCK_TOKENS)
}

/** Of `logits` [vocab], whatever they are, at `temperature`, which is no smaller than 1e-5. */
export function softmax(logits: Float32Array, temperature: number): Likelihoods {
  const blocks = blocksOf(logits.length)
  const probabilities = new Float32Array(blocks * BLOCK_TOKENS)
  const [sums, maxima] = [new Float32Array(blocks), new Float32Array(blocks)]
  let best = Number.NEGATIVE_INFINITY
  // Neither `Math.max` nor `for of`, which take ten times as long over so many numbers.
  for (let token = 0; token < logits.length; token++) if (logits[token]! > best) best = logits[token]!
  let mass = 0
  for (let token = 0; token < logits.length; token++) {
    const weight = Math.exp((logits[token]! - best) / temperature)
    probabilities[token] = weight
    mass += weight
  }
  for (let block = 0; block < blocks; block++) {
    let [sum, largest] = [0, 0]
    for (let token = block * BLOCK_TOKENS; token < (block + 1) * BLOCK_TOKENS; token++) {
      const probability = probabilities[token]! / mass
      probabilities[token] = probability
      sum += probability
      if (probability > largest) largest = probability
    }
    sums[block] = sum
    maxima[block] = largest
  }
  return { probabilities, sums, maxima }
}
