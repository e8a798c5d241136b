// A token drawn by its likelihood, among all or among the likeliest, without sorting the vocabulary.
// Knows no logits and no randomness. Invariant: a token of no probability is never drawn.
import { BLOCK_TOKENS, type Likelihoods } from './likelihoods.ts'

/** Tokens down to so much less likely than the best are looked at before all others are. */
const NEAR = Math.exp(-8)
/** A probability's bits without the last of its fraction are its bin: 32 for each power of two, likelier ones higher. */
const BIN_SHIFT = 18
/** Of probabilities up to 1. */
const BINS = (0x3f800000 >> BIN_SHIFT) + 1

/** Which tokens are likely, as `SamplingParams` has it. */
export interface Cuts {
  /** 0: all. */
  readonly top_k: number
  readonly top_p: number
  readonly min_p: number
}

/**
 * The token at which `share`, from 0 to 1, of the likely tokens' weight is reached; undefined where numbers that are none, a
 * rounded sum or a `top_p` of 0 leave no token there: then it is the best. Likely tokens are the `top_k` best, of these the
 * fewest that hold `top_p` of the weight (nucleus sampling, arXiv 1904.09751), and those `min_p` times as likely as the best
 * (arXiv 2407.01082). Where nothing is cut off they are in the order of the vocabulary, else in that of their likelihood.
 */
export function draw(likelihoods: Likelihoods, share: number, cuts: Cuts): number | undefined {
  const { sums, maxima } = likelihoods
  const { top_k, top_p, min_p } = cuts
  let total = 0
  for (let block = 0; block < sums.length; block++) total += sums[block]!
  if (!(total > 0)) return undefined
  if (top_k === 0 && top_p >= 1 && min_p === 0) return atMass(likelihoods, share * total)
  let best = 0
  for (let block = 0; block < maxima.length; block++) if (maxima[block]! > best) best = maxima[block]!
  const bins = new Bins(likelihoods, best)
  if (top_k > 0) bins.fill(bins.binOfBest(top_k) << BIN_SHIFT)
  else {
    const mass = bins.fill(bitsOfOne(best * NEAR))
    if (mass < top_p * total && NEAR > min_p) bins.fill(0)
  }
  return bins.draw(share, cuts, total)
}

/** The token with which the probabilities come to `mass`, in the order of the vocabulary. */
function atMass({ probabilities, sums }: Likelihoods, mass: number): number | undefined {
  let left = mass
  for (let block = 0; block < sums.length; block++) {
    if (sums[block]! < left) {
      left -= sums[block]!
      continue
    }
    for (let token = block * BLOCK_TOKENS; token < (block + 1) * BLOCK_TOKENS; token++) {
      left -= probabilities[token]!
      if (left <= 0 && probabilities[token]! > 0) return token
    }
  }
  return undefined
}

/** Where likely tokens end: those of this bin that are still likely, and the mass of all. */
interface End {
  readonly bin: number
  readonly tokens: readonly number[]
  readonly mass: number
}

/** Used for one draw after another: to make them takes as long as to fill them. */
const masses = new Float64Array(BINS)
const counts = new Int32Array(BINS)

/** Tokens by how likely they are: only bins that matter are looked into, and their tokens put in order. */
class Bins {
  readonly #likelihoods: Likelihoods
  /** Probabilities are compared as bits, which have their order. */
  readonly #bits: Uint32Array
  readonly #maxima: Uint32Array
  readonly #best: number

  /** `best` is the largest probability. */
  constructor(likelihoods: Likelihoods, best: number) {
    this.#likelihoods = likelihoods
    this.#bits = bitsOf(likelihoods.probabilities)
    this.#maxima = bitsOf(likelihoods.maxima)
    this.#best = best
  }

  /** The lowest bin that may have one of the `count` best tokens: as many blocks have one there or above. */
  binOfBest(count: number): number {
    const maxima = this.#maxima
    counts.fill(0)
    for (let block = 0; block < maxima.length; block++) counts[maxima[block]! >> BIN_SHIFT]!++
    let left = count
    for (let bin = binOf(this.#best); bin > 0; bin--) {
      left -= counts[bin]!
      if (left <= 0) return bin
    }
    return 0
  }

  /** Puts the tokens in whose probability has these bits or more, and is more than 0; returns their mass. */
  fill(least: number): number {
    const { probabilities } = this.#likelihoods
    const [bits, maxima] = [this.#bits, this.#maxima]
    masses.fill(0)
    counts.fill(0)
    let mass = 0
    for (let block = 0; block < maxima.length; block++) {
      if (maxima[block]! < least) continue
      for (let token = block * BLOCK_TOKENS; token < (block + 1) * BLOCK_TOKENS; token++) {
        if (bits[token]! < least || bits[token] === 0) continue
        const bin = bits[token]! >> BIN_SHIFT
        masses[bin]! += probabilities[token]!
        counts[bin]!++
        mass += probabilities[token]!
      }
    }
    return mass
  }

  /** As the function, where all likely tokens are in; `total` is the mass of all tokens, these or not. */
  draw(share: number, { top_k, top_p, min_p }: Cuts, total: number): number | undefined {
    const count = top_k > 0 ? top_k : Number.POSITIVE_INFINITY
    const mass = top_k > 0 && top_p < 1 ? this.#end(count, Number.POSITIVE_INFINITY, 0).mass : total
    const end = this.#end(count, top_p < 1 ? top_p * mass : Number.POSITIVE_INFINITY, min_p * this.#best)
    let left = share * end.mass
    for (let bin = binOf(this.#best); bin >= end.bin; bin--) {
      if (bin > end.bin && masses[bin]! < left) {
        left -= masses[bin]!
        continue
      }
      for (const token of bin > end.bin ? this.#inOrder(bin) : end.tokens) {
        left -= this.#likelihoods.probabilities[token]!
        if (left <= 0) return token
      }
    }
    return undefined
  }

  /** The end of the best `count` tokens, fewer where they come to `mass` or the next is less likely than `least`. */
  #end(count: number, mass: number, least: number): End {
    const leastBin = binOf(least)
    let [taken, sum] = [0, 0]
    for (let bin = binOf(this.#best); bin >= 0; bin--) {
      const [binCount, binMass] = [counts[bin]!, masses[bin]!]
      if (taken + binCount <= count && sum + binMass < mass && bin > leastBin) {
        taken += binCount
        sum += binMass
        continue
      }
      const tokens: number[] = []
      for (const token of this.#inOrder(bin)) {
        const probability = this.#likelihoods.probabilities[token]!
        if (taken === count || sum >= mass || probability < least) break
        tokens.push(token)
        taken++
        sum += probability
      }
      // Where all are, the end is still to come.
      if (tokens.length < binCount) return { bin, tokens, mass: sum }
    }
    return { bin: -1, tokens: [], mass: sum }
  }

  /** The tokens of a bin, likeliest first, and of equals the first. */
  #inOrder(bin: number): number[] {
    const [bits, maxima] = [this.#bits, this.#maxima]
    const tokens: number[] = []
    if (counts[bin] === 0) return tokens
    for (let block = 0; block < maxima.length; block++) {
      if (maxima[block]! >> BIN_SHIFT < bin) continue
      for (let token = block * BLOCK_TOKENS; token < (block + 1) * BLOCK_TOKENS; token++) {
        if (bits[token]! >> BIN_SHIFT === bin && bits[token]! > 0) tokens.push(token)
      }
    }
    return tokens.sort((x, y) => bits[y]! - bits[x]! || x - y)
  }
}

function bitsOf(probabilities: Float32Array): Uint32Array {
  return new Uint32Array(probabilities.buffer, probabilities.byteOffset, probabilities.length)
}

function bitsOfOne(probability: number): number {
  return bitsOf(Float32Array.of(probability))[0]!
}

function binOf(probability: number): number {
  return bitsOfOne(probability) >> BIN_SHIFT
}
