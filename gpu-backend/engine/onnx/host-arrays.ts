// Arrays for tensors that are no copies: small typed arrays lie inside V8's moving heap unless they are made over a buffer.

/** `values`, or zeros where there are none. */
export function ints(length: number, values?: ArrayLike<number>): Int32Array<ArrayBuffer> {
  const array = new Int32Array(new ArrayBuffer(length * Int32Array.BYTES_PER_ELEMENT))
  if (values) array.set(values)
  return array
}

/** `length` zeros. */
export function floats(length: number): Float32Array<ArrayBuffer> {
  return new Float32Array(new ArrayBuffer(length * Float32Array.BYTES_PER_ELEMENT))
}
