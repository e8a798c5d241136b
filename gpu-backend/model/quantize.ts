// Weights in blocks of 32 values with one scale each, in the layout of ONNX Runtime's MatMulNBits.
// Symmetric: the value is (q - zero) * scale, with the operator's default zero point, the middle of the range.

export const BLOCK = 32

export interface QuantizedWeight {
  /** [out, in / 32, 32 * bits / 8] u8; for 4 bits the even value is in the low half of a byte */
  readonly values: Uint8Array<ArrayBuffer>
  /** [out * in / 32] f32 */
  readonly scales: Float32Array<ArrayBuffer>
}

/** Quantises `weight` [out, in] f32, in a multiple of 32. */
export function quantizeBlocks(weight: Float32Array, bits: 4 | 8): QuantizedWeight {
  const blocks = weight.length / BLOCK
  const zero = 1 << (bits - 1)
  const blockBytes = (BLOCK * bits) / 8
  const values = new Uint8Array(blocks * blockBytes)
  const scales = new Float32Array(blocks)
  for (let block = 0; block < blocks; block++) {
    const start = block * BLOCK
    const scale = bits === 8 ? Math.abs(largest(weight, start)) / (zero - 1) : bestScale(weight, start, zero)
    scales[block] = scale
    const inverse = scale === 0 ? 0 : 1 / scale
    for (let i = 0; i < BLOCK; i++) {
      const q = Math.min(2 * zero - 1, Math.max(0, Math.round(weight[start + i]! * inverse) + zero))
      if (bits === 8) values[start + i] = q
      else values[(start + i) >> 1]! |= q << ((i & 1) * 4)
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
function bestScale(weight: Float32Array, start: number, zero: number): number {
  const full = largest(weight, start) / -zero
  if (full === 0) return 0
  let best = { scale: full, error: Number.POSITIVE_INFINITY }
  for (const share of SCALE_SHARES) {
    const scale = full * share
    let error = 0
    for (let i = start; i < start + BLOCK; i++) {
      const q = Math.min(zero - 1, Math.max(-zero, Math.round(weight[i]! / scale)))
      error += (weight[i]! - q * scale) ** 2
    }
    if (error < best.error) best = { scale, error }
  }
  return best.scale
}

/** The value of largest magnitude in a block, with its sign. */
function largest(weight: Float32Array, start: number): number {
  let extreme = 0
  for (let i = start; i < start + BLOCK; i++) {
    if (Math.abs(weight[i]!) > Math.abs(extreme)) extreme = weight[i]!
  }
  return extreme
}
