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
    const extreme = largest(weight, start)
    // The extreme itself lands on the range's far end, which has one value more than the near one.
    const scale = bits === 4 ? extreme / -zero : Math.abs(extreme) / (zero - 1)
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

/** The value of largest magnitude in a block, with its sign. */
function largest(weight: Float32Array, start: number): number {
  let extreme = 0
  for (let i = start; i < start + BLOCK; i++) {
    if (Math.abs(weight[i]!) > Math.abs(extreme)) extreme = weight[i]!
  }
  return extreme
}
