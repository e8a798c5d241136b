// A tensor inside a foreign file: its name, type and shape at once, its values only when loaded, always as f32.
// Knows no file format. Invariant: `load` gives exactly the product of `shape` values, row-major, in memory of its own.
import { AdapterError, quote } from './errors.ts'

export type FloatDtype = 'f64' | 'f32' | 'f16' | 'bf16'
/** Types as the formats store them; `other`: integers, and what only its own format can decode. */
export type SourceDtype = FloatDtype | 'other'

export interface SourceTensor {
  readonly name: string
  readonly dtype: SourceDtype
  readonly shape: readonly number[]
  load(): Promise<Float32Array>
}

/** The tensors of one file, by name, and the strings that its header holds. */
export interface TensorFile {
  readonly file: string
  readonly tensors: ReadonlyMap<string, SourceTensor>
  readonly metadata: ReadonlyMap<string, string>
}

export const BYTES_PER_VALUE: Readonly<Record<FloatDtype, number>> = {
  f64: 8,
  f32: 4,
  f16: 2,
  bf16: 2,
}

/** Number of values of a shape; Infinity when it overflows. */
export function countValues(shape: readonly number[]): number {
  let count = 1
  for (const size of shape) count *= size
  return Number.isSafeInteger(count) ? count : Number.POSITIVE_INFINITY
}

/** Raw little-endian values as f32. Throws AdapterError `unsupported` for integer and quantised types. */
export function toFloat32(bytes: Uint8Array, dtype: SourceDtype, name: string): Float32Array<ArrayBuffer> {
  // A copy that starts at an offset of 0, so that any typed array can view it.
  const buffer = bytes.slice().buffer
  switch (dtype) {
    case 'f32':
      return new Float32Array(buffer)
    case 'f64':
      return Float32Array.from(new Float64Array(buffer))
    case 'f16':
      return Float32Array.from(new Float16Array(buffer))
    case 'bf16': {
      const half = new Uint16Array(buffer)
      const bits = new Uint32Array(half.length)
      for (let i = 0; i < half.length; i++) bits[i] = half[i]! << 16
      return new Float32Array(bits.buffer)
    }
    case 'other':
      throw new AdapterError(
        'unsupported',
        `${quote(name)} holds integers or quantised values; save it as floating point.`,
      )
  }
}
