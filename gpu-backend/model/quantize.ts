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
  const blocks = weight.length / block
  const zero = 1 << (bits - 1)
  const values = new Uint8Array((weight.length * bits) / 8)
  const scales = new Float32Array(blocks)
  for (const index of scales.keys()) {
    const start = index * block
    const one = weight.subarray(start, start + block)
    const scale = bits === 8 ? Math.abs(largest(one)) / (zero - 1) : bestScale(one, zero)
    scales[index] = scale
    const inverse = scale === 0 ? 0 : 1 / scale
    for (let i = 0; i < block; i++) {
      const q = Math.min(2 * zero - 1, Math.max(0, Math.round(one[i]! * inverse) + zero))
      if (bits === 8) values[start + i] = q
      else values[(start + i) >> 1]! |= q << ((i & 1) * 4)
    }
  }
  return { values, scales }
}

/** A byte holds -STEPS .. STEPS around ZERO. */
export const ZERO = 128
export const STEPS = 127

export interface QuantizedColumns {
  /** [in, out] u8 */
  readonly values: Uint8Array
  /** [out] f32 */
  readonly scales: Float32Array
}

/** Quantises `weight` [out, in] f32 for inputs of which each channel was multiplied by its factor; without: by 1. */
export function quantizeColumns(
  weight: Float32Array,
  inSize: number,
  factors: Float32Array | undefined,
): QuantizedColumns {
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
        values[i * out + o] = (weight[o * inSize + i]! * factor * perStep[o]! + ZERO + 0.5) | 0
      }
    }
  }
  return { values, scales }
}

/** Candidates for a 4-bit block's scale, as shares of the one that just holds the extreme. */
const SCALE_SHARES = [1, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7]

/**
 * The candidate with the least squared error: clipping the extreme a little often serves the other values better.
 * The sign is chosen so that the extreme lands on the range's far end, which has one value more than the near one.
 */
function bestScale(block: Float32Array, zero: number): number {
  const full = largest(block) / -zero
  if (full === 0) return 0
  let best = { scale: full, error: Number.POSITIVE_INFINITY }
  for (const share of SCALE_SHARES) {
    const scale = full * share
    let error = 0
    for (let i = 0; i < block.length; i++) {
      const q = Math.min(zero - 1, Math.max(-zero, Math.round(block[i]! / scale)))
      error += (block[i]! - q * scale) ** 2
    }
    if (error < best.error) best = { scale, error }
  }
  return best.scale
}

/** The value of largest magnitude in a block, with its sign. */
function largest(block: Float32Array): number {
  let extreme = 0
  for (let i = 0; i < block.length; i++) {
    if (Math.abs(block[i]!) > Math.abs(extreme)) extreme = block[i]!
  }
  return extreme
}
