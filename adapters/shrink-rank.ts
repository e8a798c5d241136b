// A smaller rank for an adapter: the best approximation of each B·A (Eckart-Young), found without ever forming B·A.
// Knows no format. Invariant: the error that it reports is that of the change itself, in the Frobenius norm.
import type { DeltaSource, ModuleSource } from './delta-source.ts'
import { AdapterError } from './errors.ts'

/** Sweeps of the Jacobi method; it converges quadratically, in about ten. */
const MAX_SWEEPS = 60
const CONVERGED = 1e-13

export interface ShrunkDelta {
  readonly source: DeltaSource
  /** ‖B·A - B'·A'‖ / ‖B·A‖ over the whole adapter. */
  readonly relativeError: number
  readonly worst: { readonly path: string; readonly relativeError: number }
}

/**
 * Modules above `rank` get rank `rank`; the others stay as they are. Shrunk factors are kept in memory. Ranks of hundreds take
 * minutes: `onProgress` hears at first and after each module how many bytes of factors are done.
 * Throws AdapterError `malformed` where a value is not finite.
 */
export async function shrinkRank(
  source: DeltaSource,
  rank: number,
  onProgress: (doneBytes: number, totalBytes: number) => void = () => undefined,
): Promise<ShrunkDelta> {
  const modules = new Map<string, ModuleSource>()
  const totalBytes = [...source.modules.values()].reduce((sum, module) => sum + factorBytes(module), 0)
  let doneBytes = 0
  onProgress(doneBytes, totalBytes)
  let [lost, total] = [0, 0]
  let worst = { path: '', relativeError: 0 }
  for (const [path, module] of source.modules) {
    const { a, b } = await module.load()
    // Jacobi's method never converges on these.
    if (!(a.every(Number.isFinite) && b.every(Number.isFinite))) {
      throw new AdapterError(
        'malformed',
        `${path} has a value that is not finite; training diverged there, train the adapter again.`,
      )
    }
    const { values, approximate } = factorise(a, b, module)
    const squares = values.map((value) => value * value)
    const all = squares.reduce((sum, square) => sum + square, 0)
    const tail = squares.slice(rank).reduce((sum, square) => sum + square, 0)
    total += all
    lost += tail
    const relativeError = all === 0 ? 0 : Math.sqrt(tail / all)
    if (relativeError > worst.relativeError) worst = { path, relativeError }
    if (module.rank <= rank) modules.set(path, module)
    else {
      const shrunk = approximate(rank)
      modules.set(path, { ...module, rank, load: async () => ({ a: shrunk.a.slice(), b: shrunk.b.slice() }) })
    }
    doneBytes += factorBytes(module)
    onProgress(doneBytes, totalBytes)
  }
  const relativeError = total === 0 ? 0 : Math.sqrt(lost / total)
  const notice = `--shrink-rank ${rank} costs a relative error of ${relativeError.toPrecision(3)}${worst.path === '' ? '' : `, at most ${worst.relativeError.toPrecision(3)} (${worst.path})`}.`
  return { source: { ...source, modules, notices: [...source.notices, notice] }, relativeError, worst }
}

function factorBytes({ rank, in: columns, out }: ModuleSource): number {
  return rank * (columns + out) * Float32Array.BYTES_PER_ELEMENT
}

/** Columns of a matrix, float64. */
type Columns = Float64Array[]

/**
 * Singular values of B·A (descending), and its best approximations. B = Qb·Rb and Aᵀ = Qa·Ra, so that only the small
 * core Rb·Raᵀ = U·S·Vᵀ [rank, rank] is decomposed: B' = Qb·U·√S, A' = √S·Vᵀ·Qaᵀ.
 */
function factorise(
  a: Float32Array,
  b: Float32Array,
  { rank, in: columns, out }: { rank: number; in: number; out: number },
) {
  const left = orthogonalise(
    Array.from({ length: rank }, (_, i) => Float64Array.from({ length: out }, (_, row) => b[row * rank + i]!)),
  )
  const right = orthogonalise(
    Array.from({ length: rank }, (_, i) => Float64Array.from(a.subarray(i * columns, (i + 1) * columns))),
  )
  const core = Array.from({ length: rank }, (_, j) =>
    Float64Array.from({ length: rank }, (_, i) => {
      let sum = 0
      for (let k = 0; k < rank; k++) sum += left.r[k]![i]! * right.r[k]![j]!
      return sum
    }),
  )
  const { u, values, v } = jacobi(core)
  const approximate = (kept: number) => ({
    a: transposed(combine(right.q, v, values, kept, columns), kept, columns),
    b: interleaved(combine(left.q, u, values, kept, out), kept, out),
  })
  return { values, approximate }
}

/** Gram-Schmidt, twice over for full accuracy: columns = Q·R, with R given by columns (upper triangular). */
function orthogonalise(columns: Columns): { q: Columns; r: Columns } {
  const q: Columns = []
  const r: Columns = []
  for (const column of columns) {
    const rest = column.slice()
    const coefficients = new Float64Array(columns.length)
    const size = norm(rest)
    for (let pass = 0; pass < 2; pass++) {
      q.forEach((direction, i) => {
        const along = dot(direction, rest)
        coefficients[i]! += along
        for (let k = 0; k < rest.length; k++) rest[k]! -= along * direction[k]!
      })
    }
    const length = norm(rest)
    // What is left of a dependent column is rounding: it gives no direction of its own.
    const independent = length > size * 1e-14
    coefficients[q.length] = independent ? length : 0
    q.push(rest.map((value) => (independent ? value / length : 0)))
    r.push(coefficients)
  }
  return { q, r }
}

/** One-sided Jacobi: columns of a square matrix = U·S·Vᵀ, singular values descending. */
function jacobi(columns: Columns): { u: Columns; values: number[]; v: Columns } {
  const size = columns.length
  const v = columns.map((_, i) => Float64Array.from({ length: size }, (_, k) => (k === i ? 1 : 0)))
  for (let sweep = 0, rotated = true; rotated && sweep < MAX_SWEEPS; sweep++) {
    rotated = false
    for (let i = 0; i < size; i++) {
      for (let j = i + 1; j < size; j++) {
        const [alpha, beta, gamma] = [
          dot(columns[i]!, columns[i]!),
          dot(columns[j]!, columns[j]!),
          dot(columns[i]!, columns[j]!),
        ]
        if (Math.abs(gamma) <= CONVERGED * Math.sqrt(alpha * beta)) continue
        rotated = true
        const zeta = (beta - alpha) / (2 * gamma)
        const tangent = Math.sign(zeta || 1) / (Math.abs(zeta) + Math.sqrt(1 + zeta * zeta))
        const cosine = 1 / Math.sqrt(1 + tangent * tangent)
        rotate(columns[i]!, columns[j]!, cosine, cosine * tangent)
        rotate(v[i]!, v[j]!, cosine, cosine * tangent)
      }
    }
  }
  const order = columns.map((column, i) => ({ i, value: norm(column) })).sort((x, y) => y.value - x.value)
  return {
    u: order.map(({ i, value }) => columns[i]!.map((entry) => (value > 0 ? entry / value : 0))),
    values: order.map(({ value }) => value),
    v: order.map(({ i }) => v[i]!),
  }
}

function rotate(x: Float64Array, y: Float64Array, cosine: number, sine: number): void {
  for (let k = 0; k < x.length; k++) {
    const [left, right] = [x[k]!, y[k]!]
    x[k] = cosine * left - sine * right
    y[k] = sine * left + cosine * right
  }
}

/** The first `kept` columns of Q·W·√S. */
function combine(q: Columns, w: Columns, values: readonly number[], kept: number, rows: number): Columns {
  return Array.from({ length: kept }, (_, j) => {
    const column = new Float64Array(rows)
    q.forEach((direction, k) => {
      const factor = w[j]![k]! * Math.sqrt(values[j]!)
      for (let row = 0; row < rows; row++) column[row]! += factor * direction[row]!
    })
    return column
  })
}

/** Columns as the rows of a row-major matrix [columns, length]. */
function transposed(columns: Columns, count: number, length: number): Float32Array {
  const result = new Float32Array(count * length)
  columns.forEach((column, i) => {
    result.set(column, i * length)
  })
  return result
}

/** Columns as a row-major matrix [length, columns]. */
function interleaved(columns: Columns, count: number, length: number): Float32Array {
  const result = new Float32Array(count * length)
  columns.forEach((column, i) => {
    for (let row = 0; row < length; row++) result[row * count + i] = column[row]!
  })
  return result
}

function dot(x: Float64Array, y: Float64Array): number {
  let sum = 0
  for (let k = 0; k < x.length; k++) sum += x[k]! * y[k]!
  return sum
}

function norm(x: Float64Array): number {
  return Math.sqrt(dot(x, x))
}
