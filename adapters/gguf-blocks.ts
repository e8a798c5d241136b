// Dequantises the block formats of GGUF files to f32, as ggml-quants.c of llama.cpp defines them.
// Knows bytes and numbers only. Every format is a run of blocks; a block has its own scales.

export interface BlockFormat {
  readonly name: string
  /** Values in a block. */
  readonly values: number
  /** Bytes of a block. */
  readonly bytes: number
  /** Writes the block's values to `out` at `to`. */
  readonly decode: (block: DataView, out: Float32Array, to: number) => void
}

/** GGML types by their number in a GGUF file; the others are refused by number. */
export const GGML_TYPES: ReadonlyMap<number, BlockFormat> = new Map<number, BlockFormat>([
  [0, { name: 'F32', values: 1, bytes: 4, decode: decodeF32 }],
  [1, { name: 'F16', values: 1, bytes: 2, decode: decodeF16 }],
  [2, { name: 'Q4_0', values: 32, bytes: 18, decode: decodeQ4_0 }],
  [3, { name: 'Q4_1', values: 32, bytes: 20, decode: decodeQ4_1 }],
  [6, { name: 'Q5_0', values: 32, bytes: 22, decode: decodeQ5_0 }],
  [7, { name: 'Q5_1', values: 32, bytes: 24, decode: decodeQ5_1 }],
  [8, { name: 'Q8_0', values: 32, bytes: 34, decode: decodeQ8_0 }],
  [12, { name: 'Q4_K', values: 256, bytes: 144, decode: decodeQ4_K }],
  [13, { name: 'Q5_K', values: 256, bytes: 176, decode: decodeQ5_K }],
  [14, { name: 'Q6_K', values: 256, bytes: 210, decode: decodeQ6_K }],
  [30, { name: 'BF16', values: 1, bytes: 2, decode: decodeBf16 }],
])

/** The `count` values that lie in `bytes` as blocks of `format`. */
export function dequantize(bytes: Uint8Array, format: BlockFormat, count: number): Float32Array {
  const out = new Float32Array(count)
  for (let i = 0, at = bytes.byteOffset; i < count; i += format.values, at += format.bytes) {
    format.decode(new DataView(bytes.buffer, at, format.bytes), out, i)
  }
  return out
}

function decodeF32(block: DataView, out: Float32Array, to: number): void {
  out[to] = block.getFloat32(0, true)
}

function decodeF16(block: DataView, out: Float32Array, to: number): void {
  out[to] = block.getFloat16(0, true)
}

const BF16_BITS = new DataView(new ArrayBuffer(4))

function decodeBf16(block: DataView, out: Float32Array, to: number): void {
  BF16_BITS.setUint32(0, block.getUint16(0, true) << 16)
  out[to] = BF16_BITS.getFloat32(0)
}

/** Scale, then 32 nibbles: the low halves are values 0-15, the high halves 16-31; zero is 8. */
function decodeQ4_0(block: DataView, out: Float32Array, to: number): void {
  const scale = block.getFloat16(0, true)
  for (let i = 0; i < 16; i++) {
    const pair = block.getUint8(2 + i)
    out[to + i] = ((pair & 15) - 8) * scale
    out[to + i + 16] = ((pair >> 4) - 8) * scale
  }
}

/** Scale, minimum, then nibbles as in Q4_0. */
function decodeQ4_1(block: DataView, out: Float32Array, to: number): void {
  const scale = block.getFloat16(0, true)
  const minimum = block.getFloat16(2, true)
  for (let i = 0; i < 16; i++) {
    const pair = block.getUint8(4 + i)
    out[to + i] = (pair & 15) * scale + minimum
    out[to + i + 16] = (pair >> 4) * scale + minimum
  }
}

/** Scale, 32 high bits, then nibbles as in Q4_0; zero is 16. */
function decodeQ5_0(block: DataView, out: Float32Array, to: number): void {
  const scale = block.getFloat16(0, true)
  for (let i = 0; i < 32; i++) out[to + i] = (fiveBits(block, 2, i) - 16) * scale
}

/** Scale, minimum, then as in Q5_0. */
function decodeQ5_1(block: DataView, out: Float32Array, to: number): void {
  const scale = block.getFloat16(0, true)
  const minimum = block.getFloat16(2, true)
  for (let i = 0; i < 32; i++) out[to + i] = fiveBits(block, 4, i) * scale + minimum
}

/** Value `i` of 32 whose high bits lie at `start` and whose nibbles follow. */
function fiveBits(block: DataView, start: number, i: number): number {
  const nibble = (block.getUint8(start + 4 + (i & 15)) >> (i < 16 ? 0 : 4)) & 15
  return nibble | (((block.getUint32(start, true) >>> i) & 1) << 4)
}

function decodeQ8_0(block: DataView, out: Float32Array, to: number): void {
  const scale = block.getFloat16(0, true)
  for (let i = 0; i < 32; i++) out[to + i] = block.getInt8(2 + i) * scale
}

/** Eight groups of 32 nibbles. */
function decodeQ4_K(block: DataView, out: Float32Array, to: number): void {
  for (let group = 0; group < 8; group++) {
    const { scale, minimum } = groupOfK(block, group)
    for (let i = 0; i < 32; i++) out[to + group * 32 + i] = nibbleOfK(block, 16, group, i) * scale - minimum
  }
}

/** As Q4_K, with a byte of high bits for each place in a group: one bit for each group. */
function decodeQ5_K(block: DataView, out: Float32Array, to: number): void {
  for (let group = 0; group < 8; group++) {
    const { scale, minimum } = groupOfK(block, group)
    for (let i = 0; i < 32; i++) {
      const high = (block.getUint8(16 + i) >> group) & 1
      out[to + group * 32 + i] = (nibbleOfK(block, 48, group, i) | (high << 4)) * scale - minimum
    }
  }
}

/** Two groups share 32 bytes: the even one has the low halves. */
function nibbleOfK(block: DataView, start: number, group: number, i: number): number {
  return (block.getUint8(start + (group >> 1) * 32 + i) >> ((group & 1) * 4)) & 15
}

/** A group's scale and minimum: six bits each, packed into the 12 bytes after the two super-scales. */
function groupOfK(block: DataView, group: number): { scale: number; minimum: number } {
  const packed = (i: number) => block.getUint8(4 + i)
  const low = group < 4
  const scale = low ? packed(group) & 63 : (packed(group + 4) & 15) | ((packed(group - 4) >> 6) << 4)
  const minimum = low ? packed(group + 4) & 63 : (packed(group + 4) >> 4) | ((packed(group) >> 6) << 4)
  return { scale: scale * block.getFloat16(0, true), minimum: minimum * block.getFloat16(2, true) }
}

/** Low four bits, high two bits, sixteen 8-bit scales, one super-scale; zero is 32. */
function decodeQ6_K(block: DataView, out: Float32Array, to: number): void {
  const scale = block.getFloat16(208, true)
  for (let half = 0; half < 2; half++) {
    for (let i = 0; i < 32; i++) {
      const high = block.getUint8(128 + half * 32 + i)
      for (let quarter = 0; quarter < 4; quarter++) {
        const low = (block.getUint8(half * 64 + (quarter & 1) * 32 + i) >> ((quarter >> 1) * 4)) & 15
        const q = (low | (((high >> (quarter * 2)) & 3) << 4)) - 32
        const groupScale = block.getInt8(192 + half * 8 + quarter * 2 + (i >> 4))
        out[to + half * 128 + quarter * 32 + i] = q * scale * groupScale
      }
    }
  }
}
