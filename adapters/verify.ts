// Looks at every value of an adapter once and writes the report that is printed and stored with the version.
// Knows no format and no backend. Invariant: nothing that is not finite, or that changes nothing, passes.
import { type BaseModel, targetName, targetNames } from './base-model.ts'
import { encodedBytes } from './canonical.ts'
import type { DeltaDtype } from './delta.ts'
import type { DeltaSource } from './delta-source.ts'
import { AdapterError } from './errors.ts'
import { checkModuleLimits, type ModuleLimits } from './limits.ts'

/** What an operator accepts. */
export interface AdapterLimits extends ModuleLimits {
  readonly maxBytes: number
}

/** What one layer (or the embeddings, or the head) changes. */
export interface LayerReport {
  readonly layer: string
  readonly modules: readonly string[]
  /** Frobenius norm of all of the layer's changes B·A together. */
  readonly norm: number
}

export interface AdapterReport {
  readonly sourceFormat: string
  readonly base: string
  readonly baseName: string
  readonly dtype: DeltaDtype
  /** Size of the canonical file. */
  readonly bytes: number
  readonly rank: number
  /** Distinct target names. */
  readonly modules: readonly string[]
  readonly moduleCount: number
  /** Distinct factors that were folded into B. */
  readonly scales: readonly number[]
  readonly layers: readonly LayerReport[]
  readonly hasChatTemplate: boolean
  readonly notices: readonly string[]
}

/** A report is for reading, and the edge keeps no more than 64 KiB of it. */
const MAX_NOTICES = 100

/** Loads each module once. Throws AdapterError: not finite, a no-op, or beyond the limits. */
export async function verifyAdapter(
  source: DeltaSource,
  base: BaseModel,
  dtype: DeltaDtype,
  limits: AdapterLimits,
): Promise<AdapterReport> {
  const bytes = encodedBytes(source, base, dtype)
  const rank = Math.max(...Array.from(source.modules.values(), (module) => module.rank))
  checkModuleLimits(source.modules, limits)
  if (bytes > limits.maxBytes) {
    throw new AdapterError(
      'too_large',
      `The adapter takes ${bytes} bytes and the operator allows ${limits.maxBytes}; publish with --dtype f16 or --shrink-rank.`,
    )
  }
  const layers = new Map<string, { modules: string[]; squares: number }>()
  for (const [path, module] of source.modules) {
    const { a, b } = await module.load()
    // As they will be stored: the smallest values of f32 are zeros in f16.
    const stored = (values: Float32Array) => (dtype === 'f16' ? Float32Array.from(Float16Array.from(values)) : values)
    const squares = squaredNorm(stored(a), stored(b), module)
    if (!Number.isFinite(squares)) {
      const remedy =
        dtype === 'f16' && Number.isFinite(squaredNorm(a, b, module))
          ? 'publish with --dtype f32'
          : 'training diverged there, train the adapter again'
      throw new AdapterError('malformed', `${path} has a value that is not finite in ${dtype}; ${remedy}.`)
    }
    const layer = /^model\.layers\.(\d+)\./.exec(path)?.[1] ?? path
    const entry = layers.get(layer) ?? { modules: [], squares: 0 }
    entry.modules.push(targetName(path))
    entry.squares += squares
    layers.set(layer, entry)
  }
  const total = [...layers.values()].reduce((sum, { squares }) => sum + squares, 0)
  if (total === 0) {
    throw new AdapterError(
      'ineffective',
      'Every B (or A) of the adapter is zero, so it would change nothing; it was saved before training or training did not reach it.',
    )
  }
  return {
    sourceFormat: source.metadata.sourceFormat,
    base: base.fingerprint,
    baseName: base.name,
    dtype,
    bytes,
    rank,
    modules: targetNames(source.modules.keys()),
    moduleCount: source.modules.size,
    scales: [...new Set(Array.from(source.modules.values(), (module) => module.scale))],
    layers: Array.from(layers, ([layer, { modules, squares }]) => ({ layer, modules, norm: Math.sqrt(squares) })),
    hasChatTemplate: source.metadata.chatTemplate !== undefined,
    notices:
      source.notices.length <= MAX_NOTICES
        ? source.notices
        : [...source.notices.slice(0, MAX_NOTICES), `${source.notices.length - MAX_NOTICES} more notices.`],
  }
}

/** Of the terms' own sizes; what remains of terms that cancel is rounding below it. */
const ROUNDING = 1e-12

/**
 * ‖B·A‖² without B·A: the trace of (BᵀB)(AAᵀ), both [rank, rank]. Exactly 0 where its terms cancel, as in the layers that
 * training did not reach of an adapter that PEFT converted ([B, -B]·[A; A], `path_initial_model_for_weight_conversion`).
 */
function squaredNorm(
  a: Float32Array,
  b: Float32Array,
  { rank, in: columns, out }: { rank: number; in: number; out: number },
): number {
  const gramA = new Float64Array(rank * rank)
  for (let i = 0; i < rank; i++) {
    for (let j = 0; j <= i; j++) {
      let sum = 0
      for (let k = 0; k < columns; k++) sum += a[i * columns + k]! * a[j * columns + k]!
      gramA[i * rank + j] = sum
      gramA[j * rank + i] = sum
    }
  }
  const gramB = new Float64Array(rank * rank)
  for (let row = 0; row < out; row++) {
    for (let i = 0; i < rank; i++) {
      const left = b[row * rank + i]!
      for (let j = 0; j < rank; j++) gramB[i * rank + j]! += left * b[row * rank + j]!
    }
  }
  // A value that is not finite makes the sums so; zero norm of one factor makes them exactly zero.
  let [trace, sizes] = [0, 0]
  for (let i = 0; i < gramA.length; i++) {
    const term = gramA[i]! * gramB[i]!
    trace += term
    sizes += Math.abs(term)
  }
  return Number.isFinite(trace) && trace <= ROUNDING * sizes ? 0 : trace
}
