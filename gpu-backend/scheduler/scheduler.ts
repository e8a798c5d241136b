// Decides what the next step does: which waiting sequences get a row, which prompt is read on, which rows go on.
// Pure: it moves sequences between waiting, prefilling and running and holds no tensor, no clock and no file.
// Invariants: rows 0 .. running-1 are the decoding batch without holes; a sequence that left never comes back; rows hold no
// more tokens than the KV cache has, and the sequence that was admitted first always goes on.
import { FairQueue } from './fair-queue.ts'
import type { Sequence } from './sequence.ts'
import { TokenBudget } from './token-budget.ts'

export interface SchedulerLimits {
  readonly maxRows: number
  /** Tokens that a row can hold. */
  readonly contextTokens: number
  /** Tokens that all rows can hold together: at least those of one row. */
  readonly kvTokens: number
  /** Tokens of a prompt that are computed at a time, always at the same boundaries: an answer does not depend on load. */
  readonly prefillChunkTokens: number
}

/**
 * One row of so many is for tenants that have none: a row is not taken back, and who holds all of them with long answers would
 * keep others waiting for as long.
 */
const ROWS_PER_KEPT_ROW = 16

/** Rows hold tokens in multiples of this: few enough to waste little, and so many that most steps ask for none. */
const TOKENS_AT_ONCE = 64
/** What a row holds beyond the tokens that it has: its next one, and a draft's. */
const TOKENS_AHEAD = 8
/** What a row holds of its answer from the beginning on: most are shorter, and need never wait for more. */
export const TYPICAL_ANSWER_TOKENS = 512

/** Whether the next of `rows`, where `running` are taken, is for a tenant that has none. */
export function isNextKept(rows: number, running: number): boolean {
  return Math.max(1, rows - running) <= keptRows(rows)
}

function keptRows(rows: number): number {
  return Math.floor(rows / ROWS_PER_KEPT_ROW)
}

/** A piece of one prompt. */
export interface PrefillChunk {
  readonly sequence: Sequence
  readonly start: number
  readonly end: number
}

/** A row's cache moves (or, where a prompt joins, may stay): its new place must hold what its old one held. */
export interface RowMove {
  readonly sequence: Sequence
  readonly from: number
  readonly to: number
}

/** Two rows' caches change places: each must hold then what the other held. */
export interface RowSwap {
  readonly rows: readonly [number, number]
  /** That each has before. */
  readonly tokens: readonly [number, number]
}

export class Scheduler {
  readonly #limits: SchedulerLimits
  readonly #waiting = new FairQueue<Sequence>()
  /** The one sequence whose prompt is being computed. Its row is the first after the batch when it is admitted. */
  #prefilling: Sequence | undefined
  /** The decoding batch: the sequence at index i is in row i. */
  readonly #running: Sequence[] = []
  readonly #budget: TokenBudget<Sequence>
  /** Tokens that are for tenants that have none, as rows are, where there are fewer than all rows could hold. */
  readonly #keptTokens: number
  #stalled = 0
  /** Whether the last admission had no room for a sequence whose tenant has another one. */
  #isScarce = false

  constructor(limits: SchedulerLimits) {
    const { maxRows, contextTokens, kvTokens } = limits
    this.#limits = limits
    this.#budget = new TokenBudget(kvTokens)
    this.#keptTokens = kvTokens < maxRows * contextTokens ? (keptRows(maxRows) * kvTokens) / maxRows : 0
  }

  get waiting(): number {
    return this.#waiting.size
  }

  get running(): readonly Sequence[] {
    return this.#running
  }

  /** Of those that run, how many could not go on in the last step. */
  get stalled(): number {
    return this.#stalled
  }

  /** The share of the KV cache's tokens that sequences hold. */
  get kvUsage(): number {
    return this.#budget.held / this.#limits.kvTokens
  }

  get isIdle(): boolean {
    return this.#waiting.size + this.#running.length === 0 && !this.#prefilling
  }

  add(sequence: Sequence): void {
    this.#waiting.push(sequence)
  }

  /**
   * The sequences whose turn comes next, one of each tenant, to bring their deltas in ahead of time: those first that may begin
   * where others may not.
   */
  upcoming(): Sequence[] {
    const holders = this.#isScarce ? tenantsOf(this.#active()) : this.#holders()
    const heads = this.#waiting.heads()
    const isLater = ({ tenant }: Sequence) => holders.has(tenant)
    return [...heads.filter((head) => !isLater(head)), ...heads.filter(isLater)]
  }

  /** For each row the tokens that it may write from now on. */
  heldTokens(): number[] {
    const held = new Array<number>(this.#limits.maxRows).fill(0)
    for (const sequence of this.#active()) held[sequence.row] = this.#budget.heldBy(sequence)
    return held
  }

  /**
   * Lets the next sequence that `isReady` start on its prompt, where a row is free, the KV cache has room for it and no other
   * prompt is being computed. Where there is no room for a tenant's first nobody comes before it, or it might wait for ever.
   */
  admit(isReady: (sequence: Sequence) => boolean): Sequence | undefined {
    if (this.#prefilling || this.#running.length >= this.#limits.maxRows) return undefined
    const holders = this.#holders()
    let isFull = false
    this.#isScarce = false
    this.#prefilling = this.#waiting.take((sequence) => {
      if (isFull || holders.has(sequence.tenant) || !isReady(sequence)) return false
      const isFirst = this.#isFirst(sequence)
      if ((isFirst || this.#stalled === 0) && this.#enter(sequence)) return true
      if (isFirst) isFull = true
      else this.#isScarce = true
      return false
    })
    if (this.#prefilling) this.#prefilling.row = this.#running.length
    return this.#prefilling
  }

  /**
   * Those of the batch that may take their next token: its first rows, once `swaps` are done. The others must wait until ones that
   * were admitted before them have ended.
   */
  goOn(): { going: readonly Sequence[]; swaps: readonly RowSwap[] } {
    const may = new Set(this.#running.filter((sequence) => this.#mayGoOn(sequence)))
    this.#stalled = this.#running.length - may.size
    const swaps: RowSwap[] = []
    let last = this.#running.length - 1
    for (let row = 0; row < may.size; row++) {
      if (may.has(this.#running[row]!)) continue
      while (!may.has(this.#running[last]!)) last--
      swaps.push(this.#swap(row, last))
    }
    return { going: this.#running.slice(0, may.size), swaps }
  }

  #swap(row: number, other: number): RowSwap {
    const [waits, goes] = [this.#running[row]!, this.#running[other]!]
    this.#running[row] = goes
    this.#running[other] = waits
    goes.row = row
    waits.row = other
    return { rows: [row, other], tokens: [waits.numComputedTokens, goes.numComputedTokens] }
  }

  /** Gives a sequence what one more token needs. False where the KV cache has no room for it yet. */
  #mayGoOn(sequence: Sequence): boolean {
    const held = this.#holding(sequence, sequence.numComputedTokens + 1)
    return held <= this.#budget.heldBy(sequence) || this.#budget.grow(sequence, held, this.#spare(sequence))
  }

  /** Gives a sequence that is to start what its prompt needs, and its answer most likely. False as `#mayGoOn`. */
  #enter(sequence: Sequence): boolean {
    const { promptTokens, maxTokens } = sequence
    const [held, most] = [Math.min(maxTokens, TYPICAL_ANSWER_TOKENS), maxTokens].map((answer) =>
      this.#holding(sequence, promptTokens.length + answer),
    )
    return this.#budget.enter(sequence, held!, most!, this.#spare(sequence))
  }

  /** What a sequence holds that has so many tokens. */
  #holding({ promptTokens, maxTokens }: Sequence, tokens: number): number {
    const longest = Math.min(promptTokens.length + maxTokens + TOKENS_AHEAD, this.#limits.contextTokens)
    return Math.min(Math.ceil((tokens + TOKENS_AHEAD) / TOKENS_AT_ONCE) * TOKENS_AT_ONCE, longest)
  }

  /** Tokens that a sequence must leave to others. */
  #spare(sequence: Sequence): number {
    return this.#isFirst(sequence) ? 0 : this.#keptTokens
  }

  /** Whether no other sequence of its tenant was there before it. */
  #isFirst(sequence: Sequence): boolean {
    const first = this.#budget.holders().find(({ tenant }) => tenant === sequence.tenant)
    return first === undefined || first === sequence
  }

  /** Tenants that the next row is not for: those that have one, where it is kept for the others. */
  #holders(): ReadonlySet<string> {
    const isKept = isNextKept(this.#limits.maxRows, this.#running.length)
    return tenantsOf(isKept ? this.#running : [])
  }

  /** The next piece of the prompt that is being computed. */
  nextChunk(): PrefillChunk | undefined {
    const sequence = this.#prefilling
    if (!sequence) return undefined
    const start = sequence.numComputedTokens
    const { prefillChunkTokens } = this.#limits
    const boundary = (Math.floor(start / prefillChunkTokens) + 1) * prefillChunkTokens
    return { sequence, start, end: Math.min(boundary, sequence.promptTokens.length) }
  }

  /** The prompt is done: its sequence joins the running batch at the end, moving up where rows have become free. */
  join(): RowMove {
    const sequence = this.#prefilling
    if (!sequence) throw new Error('No prompt is being computed.')
    this.#prefilling = undefined
    const [from, to] = [sequence.row, this.#running.length]
    this.#running.push(sequence)
    sequence.row = to
    return { sequence, from, to }
  }

  /** Takes out a sequence, whatever it is doing; the last running row fills the hole. */
  remove(sequence: Sequence): RowMove | undefined {
    this.#budget.leave(sequence)
    if (this.#prefilling === sequence) {
      this.#prefilling = undefined
      return undefined
    }
    if (this.#running[sequence.row] !== sequence) {
      this.#waiting.remove((item) => item === sequence)
      return undefined
    }
    const last = this.#running.pop()!
    if (last === sequence) return undefined
    const [from, to] = [last.row, sequence.row]
    this.#running[to] = last
    last.row = to
    return { sequence: last, from, to }
  }

  /** Every sequence here for which `matches` holds. */
  find(matches: (sequence: Sequence) => boolean): Sequence[] {
    return [...this.#active().filter(matches), ...this.#waiting.find(matches)]
  }

  #active(): readonly Sequence[] {
    return this.#prefilling ? [this.#prefilling, ...this.#running] : this.#running
  }

  /** Throws where the bookkeeping is broken. */
  checkIntegrity(): void {
    const outOfPlace = this.#running.some(({ row }, index) => row !== index)
    const prefillRow = this.#prefilling?.row ?? this.#running.length
    if (outOfPlace || prefillRow < this.#running.length || prefillRow > this.#limits.maxRows) {
      throw new Error(
        `The scheduler's rows are inconsistent: ${this.#running.map(({ row }) => row)}, prefill ${prefillRow}`,
      )
    }
  }
}

function tenantsOf(sequences: readonly Sequence[]): ReadonlySet<string> {
  return new Set(sequences.map(({ tenant }) => tenant))
}
