// Arrays of the graph's own float type: 32 bits, or 16 where weights, deltas and KV cache are f16.
import type { FloatType } from '../../model/weight-formats.ts'

export type FloatArray = Float32Array<ArrayBuffer> | Float16Array<ArrayBuffer>

/** `length` zeros. */
export function floatArray(type: FloatType, length: number): FloatArray {
  return type === 'f16' ? new Float16Array(length) : new Float32Array(length)
}

/** The values that lie in `buffer`. */
export function floatsOver(type: FloatType, buffer: ArrayBuffer): FloatArray {
  return type === 'f16' ? new Float16Array(buffer) : new Float32Array(buffer)
}

/** Bytes of one value. */
export function floatBytes(type: FloatType): number {
  return type === 'f16' ? Float16Array.BYTES_PER_ELEMENT : Float32Array.BYTES_PER_ELEMENT
}
