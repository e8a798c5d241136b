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
 * rounded sum or a `top_p` of 0 leave no token there: then it is the best. Likely tokens are the `top_k` best, of these the fewest that hold
 * `top_p` of the weight (nucleus sampling, arXiv 1904.09751), and those `min_p` times as likely as the best (arXiv 2407.01082);
 * the best is always one. Where nothing is cut off they are in the order of the vocabulary, else in that of their likelihood.
 */
export function draw(likelihoods: Likelihoods, share: number, cuts: Cuts): number | undefined {
  let total = 0
  for (const sum of likelihoods.sums) total += sum
  if (!(total > 0)) return undefined
  const { top_k, top_p, min_p } = cuts
  if (top_k === 0 && top_p >= 1 && min_p === 0) return atMass(likelihoods, share * total)
  const near = new Bins(likelihoods, NEAR)
  const isEnough = top_k > 0 ? near.count >= top_k : near.mass >= top_p * total || NEAR <= min_p
  return (isEnough ? near : new Bins(likelihoods, 0)).draw(share, cuts, total)
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

/** Tokens by how likely they are: only bins that matter are looked into, and their tokens put in order. */
class Bins {
  readonly #likelihoods: Likelihoods
  /** Of the probabilities. */
  readonly #bits: Uint32Array
  readonly #best: number
  readonly #masses = new Float64Array(BINS)
  readonly #counts = new Int32Array(BINS)
  /** Of all tokens that are in bins, and how many they are. */
  readonly mass: number
  readonly count: number

  /** Of the tokens that are `nearness` times as likely as the best. */
  constructor(likelihoods: Likelihoods, nearness: number) {
    const { probabilities, maxima } = likelihoods
    this.#likelihoods = likelihoods
    this.#bits = new Uint32Array(probabilities.buffer, probabilities.byteOffset, probabilities.length)
    let best = 0
    for (const largest of maxima) best = Math.max(best, largest)
    this.#best = best
    const least = best * nearness
    const [bits, masses, counts] = [this.#bits, this.#masses, this.#counts]
    let [mass, count] = [0, 0]
    for (let block = 0; block < maxima.length; block++) {
      if (maxima[block]! < least) continue
      for (let token = block * BLOCK_TOKENS; token < (block + 1) * BLOCK_TOKENS; token++) {
        const probability = probabilities[token]!
        if (probability === 0 || probability < least) continue
        masses[bits[token]! >> BIN_SHIFT]! += probability
        counts[bits[token]! >> BIN_SHIFT]!++
        mass += probability
        count++
      }
    }
    this.mass = mass
    this.count = count
  }

  /** As the function, where all likely tokens are in bins; `total` is the mass of all tokens, these or not. */
  draw(share: number, { top_k, top_p, min_p }: Cuts, total: number): number | undefined {
    const count = top_k > 0 ? top_k : Number.POSITIVE_INFINITY
    const mass = top_k > 0 && top_p < 1 ? this.#end(count, Number.POSITIVE_INFINITY, 0).mass : total
    const end = this.#end(count, top_p < 1 ? top_p * mass : Number.POSITIVE_INFINITY, min_p * this.#best)
    let left = share * end.mass
    for (let bin = binOf(this.#best); bin >= end.bin; bin--) {
      if (bin > end.bin && this.#masses[bin]! < left) {
        left -= this.#masses[bin]!
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
      const [binCount, binMass] = [this.#counts[bin]!, this.#masses[bin]!]
      if (binCount === 0) continue
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
    const { probabilities, maxima } = this.#likelihoods
    const bits = this.#bits
    const tokens: number[] = []
    for (let block = 0; block < maxima.length; block++) {
      if (binOf(maxima[block]!) < bin) continue
      for (let token = block * BLOCK_TOKENS; token < (block + 1) * BLOCK_TOKENS; token++) {
        if (bits[token]! >> BIN_SHIFT === bin) tokens.push(token)
      }
    }
    return tokens.sort((x, y) => probabilities[y]! - probabilities[x]! || x - y)
  }
}

const float = new Float32Array(1)
const bitsOfFloat = new Uint32Array(float.buffer)

function binOf(probability: number): number {
  float[0] = probability
  return bitsOfFloat[0]! >> BIN_SHIFT
}
