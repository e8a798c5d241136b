// The tokens that logits make likely, most likely first, without sorting the vocabulary: each token is put into a bin by how much
// less likely than the best it is, and only bins that matter are looked into. One of 49,152 tokens is drawn in a tenth of a
// millisecond so, where sorting them took fifteen.

/** Tokens further from the best than this, e^-40 of it, never matter. */
const RANGE = 40
/** Tokens within this of the best, e^-8, are remembered: a draw seldom ends elsewhere. */
const NEAR = 8
const BINS_PER_UNIT = 32
const BINS = RANGE * BINS_PER_UNIT
/** e^-x is the product of two numbers from tables and of what a line gives between two of their steps: exact to 3e-8. */
const STEP_BITS = 7
const STEPS_PER_BIN = 1 << STEP_BITS
const STEPS_PER_UNIT = BINS_PER_UNIT * STEPS_PER_BIN
const STEPS = RANGE * STEPS_PER_UNIT
/** The last is of what is out of range. */
const OF_BIN = Float64Array.from({ length: BINS + 1 }, (_, bin) => (bin < BINS ? Math.exp(-bin / BINS_PER_UNIT) : 0))
const OF_STEP = Float64Array.from({ length: STEPS_PER_BIN }, (_, step) => Math.exp(-step / STEPS_PER_UNIT))
/** Of the smallest temperatures, by which no number that is not 0 stays finite. */
const LARGEST_SCALE = 1e300

/** A place in the order of all tokens: before token `index` of bin `bin`. */
interface Place {
  readonly bin: number
  readonly index: number
}

const END: Place = { bin: BINS, index: 0 }

interface Weighed {
  readonly token: number
  readonly logit: number
  /** Of the best token 1. */
  readonly weight: number
}

/** How the order of tokens is cut off behind the likely ones, as `SamplingParams` has it. */
export interface Cuts {
  /** 0: none. */
  readonly top_k: number
  readonly top_p: number
  readonly min_p: number
}

export class Distribution {
  readonly #logits: Float32Array
  readonly #best: number
  readonly #stepsPerLogit: number
  /** By bin: the sum of its tokens' weights, and how many they are. */
  readonly #masses = new Float64Array(BINS + 1)
  readonly #counts = new Int32Array(BINS + 1)
  readonly #near: number[] = []
  /** By bin: its tokens in order, where they were asked for. */
  readonly #sorted = new Map<number, Weighed[]>()
  /** Of all weights, where that of the best token is 1: its logarithm is what makes logits log probabilities. */
  readonly mass: number

  /** Of `logits` [vocab], whose largest is `best`, at `temperature` > 0. They must not change. */
  constructor(logits: Float32Array, best: number, temperature: number) {
    const stepsPerLogit = Math.min(STEPS_PER_UNIT / temperature, LARGEST_SCALE)
    this.#logits = logits
    this.#best = best
    this.#stepsPerLogit = stepsPerLogit
    const [masses, counts, near] = [this.#masses, this.#counts, this.#near]
    for (let token = 0; token < logits.length; token++) {
      // Not a condition, which a processor would guess wrong for every other token.
      const steps = Math.min((best - logits[token]!) * stepsPerLogit, STEPS)
      const bin = steps >> STEP_BITS
      masses[bin]! += weightOf(steps)
      counts[bin]!++
      if (steps < NEAR * STEPS_PER_UNIT) near.push(token)
    }
    this.mass = masses.reduce((sum, mass) => sum + mass, 0)
  }

  /**
   * The token at which `share`, from 0 to 1, of the likely tokens' weight is reached; undefined where numbers that are none, or a
   * rounded sum, leave no token there: then it is the best. The order is total, so that the same logits give the same token on any
   * engine. Likely tokens are the `top_k` best, of these the fewest that hold `top_p` of the weight (nucleus sampling, arXiv
   * 1904.09751), and those `min_p` times as likely as the best (arXiv 2407.01082); the best is always one.
   */
  at(share: number, { top_k, top_p, min_p }: Cuts): number | undefined {
    if (!(this.mass > 0)) return undefined
    let end = top_k > 0 ? this.#afterTokens(top_k) : END
    if (top_p < 1) end = earlier(end, this.#afterMass(top_p * this.#massBefore(end)))
    if (min_p > 0) end = earlier(end, this.#afterWeight(min_p))
    const place = earlier(this.#afterMass(share * this.#massBefore(end)), end)
    return this.#tokens(place.bin)[place.index - 1]?.token
  }

  /** The place after the first `count` tokens. */
  #afterTokens(count: number): Place {
    let left = count
    for (let bin = 0; bin < BINS; bin++) {
      if (this.#counts[bin]! >= left) return { bin, index: left }
      left -= this.#counts[bin]!
    }
    return END
  }

  /** The place after the token with which the weights come to `mass`. */
  #afterMass(mass: number): Place {
    let left = mass
    for (let bin = 0; bin < BINS; bin++) {
      if (this.#masses[bin]! < left) {
        left -= this.#masses[bin]!
        continue
      }
      for (const [index, { weight }] of this.#tokens(bin).entries()) {
        left -= weight
        if (left <= 0) return { bin, index: index + 1 }
      }
    }
    return END
  }

  /** The place after the tokens of at least this weight. */
  #afterWeight(least: number): Place {
    const bin = Math.floor(-Math.log(least) * BINS_PER_UNIT)
    if (bin >= BINS) return END
    return { bin, index: this.#tokens(bin).filter(({ weight }) => weight >= least).length }
  }

  #massBefore({ bin, index }: Place): number {
    if (bin === BINS) return this.mass
    let mass = 0
    for (let before = 0; before < bin; before++) mass += this.#masses[before]!
    if (index > 0) for (const { weight } of this.#tokens(bin).slice(0, index)) mass += weight
    return mass
  }

  /** The tokens of a bin in order. */
  #tokens(bin: number): readonly Weighed[] {
    const known = this.#sorted.get(bin)
    if (known) return known
    const tokens: Weighed[] = []
    for (const token of bin < NEAR * BINS_PER_UNIT ? this.#near : this.#logits.keys()) {
      const logit = this.#logits[token]!
      const steps = Math.min((this.#best - logit) * this.#stepsPerLogit, STEPS)
      if (steps >> STEP_BITS === bin) tokens.push({ token, logit, weight: weightOf(steps) })
    }
    tokens.sort((x, y) => y.logit - x.logit || x.token - y.token)
    this.#sorted.set(bin, tokens)
    return tokens
  }
}

/** e^-x, where x is given in steps. */
function weightOf(steps: number): number {
  const whole = steps | 0
  return OF_BIN[whole >> STEP_BITS]! * OF_STEP[whole & (STEPS_PER_BIN - 1)]! * (1 - (steps - whole) / STEPS_PER_UNIT)
}

function earlier(x: Place, y: Place): Place {
  return x.bin < y.bin || (x.bin === y.bin && x.index < y.index) ? x : y
}
