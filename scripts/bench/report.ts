// What the benchmark has measured: lines as they come, a file, a picture, and the goals at the end.
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import type { WeightFormat } from '../../gpu-backend/model/weight-formats.ts'
import { CliError } from '../cli-error.ts'
import { type Extras, goals, type Row, verdict } from './goals.ts'
import { picture } from './picture.ts'

/** Over the lines that `add` gives. */
export const HEADER = 'who                   mode            streams  tokens/s  TTFT ms  p50 ms  p99 ms\n'

interface Measured {
  readonly model: string
  readonly rank: number
  readonly rows: readonly Row[]
  readonly extras: Extras
}

export interface ReportOptions {
  readonly weights: readonly WeightFormat[]
  /** Where the figures are written; those of other measurements that it holds are kept. */
  readonly json: string | undefined
  readonly svg: string | undefined
}

export class Report {
  readonly extras: Extras = {}
  readonly #model: string
  readonly #rank: number
  readonly #options: ReportOptions
  readonly #earlier: Measured | undefined
  readonly #rows: Row[] = []

  /** Throws CliError where the JSON file is none of ours. */
  constructor(model: string, rank: number, options: ReportOptions) {
    this.#model = model
    this.#rank = rank
    this.#options = options
    const earlier = options.json && existsSync(options.json) ? parseFile(options.json) : undefined
    this.#earlier = earlier?.model === model ? earlier : undefined
  }

  /** Returns the row as a line. */
  add(row: Row): string {
    this.#rows.push(row)
    const number = (value: number, width: number, digits = 0) => value.toFixed(digits).padStart(width)
    return [
      row.contender.padEnd(21),
      row.mode.padEnd(14),
      number(row.streams, 8),
      number(row.tokensPerSecond, 9, 1),
      number(row.ttftMs, 8),
      number(row.interTokenP50Ms, 7, 1),
      number(row.interTokenP99Ms, 7, 1),
    ].join(' ')
  }

  save(): void {
    const { json, svg, weights } = this.#options
    const whole = this.#whole()
    if (json) writeFileSync(json, `${JSON.stringify(whole, null, 2)}\n`)
    // One kind of weights and the peers: more lines could not be told apart.
    const server = `server ${weights[0]}`
    const isDrawn = ({ contender }: Row) => contender === server || !/^(server|loop) /.test(contender)
    if (svg) writeFileSync(svg, picture(whole.rows.filter(isDrawn)))
  }

  /** For each kind of weights: whether a figure reaches its goal, at least its floor, or falls short. */
  goals(): string {
    const { rows, extras } = this.#whole()
    const lines: string[] = []
    for (const [i, weights] of this.#options.weights.entries()) {
      lines.push('', `${weights.padEnd(53)}  floor   goal  measured`)
      // What was measured beside the rows was measured with the first.
      for (const goal of goals(rows, i === 0 ? extras : {}, `server ${weights}`)) {
        if (goal.value === undefined) continue
        const numbers = [
          String(goal.floor).padStart(6),
          String(goal.goal).padStart(6),
          goal.value.toFixed(2).padStart(9),
        ]
        lines.push(`${goal.name.padEnd(53)} ${numbers.join(' ')}  ${verdict(goal)}`)
      }
    }
    return `${lines.join('\n')}\n`
  }

  /** With what the file holds of the same model and was not measured now. */
  #whole(): Measured {
    const [model, rank, measured] = [this.#model, this.#rank, this.#rows]
    const isSame = (x: Row) => (y: Row) => x.contender === y.contender && x.mode === y.mode && x.streams === y.streams
    const kept = this.#earlier?.rows.filter((row) => !measured.some(isSame(row))) ?? []
    return { model, rank, rows: [...kept, ...measured], extras: { ...this.#earlier?.extras, ...this.extras } }
  }
}

function parseFile(path: string): Measured {
  try {
    return JSON.parse(readFileSync(path, 'utf8')) as Measured
  } catch {
    throw new CliError(`--json ${path}: what is there is not of this benchmark; give another file, or remove it.`, 2)
  }
}
