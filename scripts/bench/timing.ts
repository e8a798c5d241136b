// What a run of several streams shows: tokens/s while all of them run, and what a user waits for. Pure arithmetic.

/** One stream's timing, in milliseconds of one clock. */
export interface Timing {
  readonly sentMs: number
  readonly tokenTimesMs: readonly number[]
}

export interface Figures {
  /** Of the whole batch, while every stream was running. */
  readonly tokensPerSecond: number
  readonly ttftMs: number
  readonly interTokenP50Ms: number
  readonly interTokenP99Ms: number
}

export function summarize(timings: readonly Timing[]): Figures {
  const waits = gaps(timings)
  return {
    tokensPerSecond: overlapRate(timings) || oneByOneRate(timings),
    ttftMs: median(timings.map(({ sentMs, tokenTimesMs }) => tokenTimesMs[0]! - sentMs)),
    interTokenP50Ms: quantile(waits, 0.5),
    interTokenP99Ms: quantile(waits, 0.99),
  }
}

/** Of several rounds. */
export function medians(rounds: readonly Figures[]): Figures {
  const of = (key: keyof Figures) => median(rounds.map((figures) => figures[key]))
  return {
    tokensPerSecond: of('tokensPerSecond'),
    ttftMs: of('ttftMs'),
    interTokenP50Ms: of('interTokenP50Ms'),
    interTokenP99Ms: of('interTokenP99Ms'),
  }
}

/** Times between two tokens of one stream. */
export function gaps(timings: readonly Timing[]): number[] {
  return timings.flatMap(({ tokenTimesMs }) => tokenTimesMs.slice(1).map((time, i) => time - tokenTimesMs[i]!))
}

function overlapRate(timings: readonly Timing[]): number {
  const from = Math.max(...timings.map(({ tokenTimesMs }) => tokenTimesMs[0]!))
  const to = Math.min(...timings.map(({ tokenTimesMs }) => tokenTimesMs.at(-1)!))
  if (to <= from) return 0
  const during = timings.flatMap(({ tokenTimesMs }) => tokenTimesMs.filter((time) => time > from && time <= to))
  return during.length / ((to - from) / 1000)
}

/** Where streams do not overlap: decoding alone, the prompts' time left out. */
function oneByOneRate(timings: readonly Timing[]): number {
  const waits = gaps(timings)
  return waits.length / (waits.reduce((sum, ms) => sum + ms, 0) / 1000)
}

export function quantile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((x, y) => x - y)
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))]!
}

export function median(values: readonly number[]): number {
  return quantile(values, 0.5)
}
