// Weights in few bits: in blocks of values with one scale each, in the layout of ONNX Runtime's MatMulNBits, or in
// columns, one scale for each output, in that of MatMulInteger.
// Symmetric: the value is (q - zero) * scale, with the middle of the range as the zero point.

export interface QuantizedWeight {
  /** [out, in / block, block * bits / 8] u8; for 4 bits the even value is in the low half of a byte */
  readonly values: Uint8Array<ArrayBuffer>
  /** [out * in / block] f32 */
  readonly scales: Float32Array<ArrayBuffer>
}

/** Quantises `weight` [out, in] f32, in a multiple of `block`. */
export function quantizeBlocks(weight: Float32Array, bits: 4 | 8, block: number): QuantizedWeight {
  const zero = 1 << (bits - 1)
  const most = 2 * zero - 1
  const values = new Uint8Array((weight.length * bits) / 8)
  const scales = new Float32Array(weight.length / block)
  for (let index = 0; index < scales.length; index++) {
    const start = index * block
    const end = start + block
    const extreme = largest(weight, start, end)
    const scale = bits === 8 ? Math.abs(extreme) / (zero - 1) : bestScale(weight, start, end, extreme, zero)
    scales[index] = scale
    const inverse = scale === 0 ? 0 : 1 / scale
    for (let i = start; i < end; i++) {
      const q = nearest(weight[i]! * inverse + zero, most)
      if (bits === 8) values[i] = q
      else values[i >> 1]! |= q << ((i & 1) * 4)
    }
  }
  return { values, scales }
}

/** A byte holds -STEPS .. STEPS around ZERO. */
export const ZERO = 128
export const STEPS = 127

export interface QuantizedColumns {
  /** [in, out] u8, or of i8 their bits */
  readonly values: Uint8Array
  /** [out] f32 */
  readonly scales: Float32Array
}

/**
 * Quantises `weight` [out, in] f32 for inputs of which each channel was multiplied by its factor; without: by 1. `u8` are around
 * ZERO, `i8` around 0.
 */
export function quantizeColumns(
  weight: Float32Array,
  inSize: number,
  factors: Float32Array | undefined,
  type: 'u8' | 'i8' = 'u8',
): QuantizedColumns {
  const below = type === 'i8' ? ZERO : 0
  const out = weight.length / inSize
  const inverse = factors ? factors.map((factor) => 1 / factor) : new Float32Array(inSize).fill(1)
  const scales = new Float32Array(out)
  const perStep = new Float64Array(out)
  for (let o = 0; o < out; o++) {
    let extreme = 0
    for (let i = 0; i < inSize; i++) {
      const size = Math.abs(weight[o * inSize + i]! * inverse[i]!)
      if (size > extreme) extreme = size
    }
    scales[o] = extreme / STEPS
    perStep[o] = extreme === 0 ? 0 : STEPS / extreme
  }
  const values = new Uint8Array(weight.length)
  // In tiles of outputs, so that a tile's values lie side by side when they are written.
  const tile = 64
  for (let start = 0; start < out; start += tile) {
    const end = Math.min(start + tile, out)
    for (let i = 0; i < inSize; i++) {
      const factor = inverse[i]!
      for (let o = start; o < end; o++) {
        // Never negative, so that cutting off what follows the point rounds half up.
        values[i * out + o] = ((weight[o * inSize + i]! * factor * perStep[o]! + ZERO + 0.5) | 0) - below
      }
    }
  }
  return { values, scales }
}

/** Candidates for a 4-bit block's scale, as shares of the one that just holds the extreme. */
const SCALE_SHARES = [1, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7]

/**
 * Of the values from `start` to `end`, `extreme` being the largest: the candidate with the least squared error, since clipping the
 * extreme a little often serves the other values better. The sign is chosen so that the extreme lands on the range's far end,
 * which has one value more than the near one.
 */
function bestScale(weight: Float32Array, start: number, end: number, extreme: number, zero: number): number {
  const full = extreme / -zero
  if (full === 0) return 0
  const most = 2 * zero - 1
  let best = full
  let leastError = Number.POSITIVE_INFINITY
  for (const share of SCALE_SHARES) {
    const scale = full * share
    let error = 0
    // Errors only grow.
    for (let i = start; i < end && error < leastError; i++) {
      const value = weight[i]!
      const off = value - (nearest(value / scale + zero, most) - zero) * scale
      error += off * off
    }
    if (error < leastError) {
      best = scale
      leastError = error
    }
  }
  return best
}

/** `value` as the nearest whole number from 0 to `most`. In integers: Math.round and Math.min took five times as long. */
function nearest(value: number, most: number): number {
  const whole = (value + 0.5) | 0
  return whole < 0 ? 0 : whole > most ? most : whole
}

/** The value of largest magnitude from `start` to `end`, with its sign. */
function largest(weight: Float32Array, start: number, end: number): number {
  let extreme = 0
  for (let i = start; i < end; i++) {
    if (Math.abs(weight[i]!) > Math.abs(extreme)) extreme = weight[i]!
  }
  return extreme
}
