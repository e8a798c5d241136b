// A delta's bytes as they arrive, counted.
// Knows nothing of where deltas are kept. Invariant: what it returns shares no memory with the pieces that came, and takes
// hardly more than they did, however small they were: it can be given away to another thread.
import { BackendError } from '../errors.ts'

/** Blocks grow from the one to the other: a small delta takes little, a large one few blocks. */
export const SMALLEST_BLOCK_BYTES = 64 << 10
const LARGEST_BLOCK_BYTES = 4 << 20

/** The whole of `body`, in blocks with memory of their own. @throws BackendError `too_large` */
export async function receiveDelta(
  body: AsyncIterable<Uint8Array>,
  maxBytes: number,
): Promise<Uint8Array<ArrayBuffer>[]> {
  const blocks: Uint8Array<ArrayBuffer>[] = []
  let [block, filled, length] = [new Uint8Array(), 0, 0]
  for await (const piece of body) {
    length += piece.length
    if (length > maxBytes)
      throw new BackendError('too_large', `The delta is larger than the ${maxBytes} bytes allowed here.`)
    for (let taken = 0; taken < piece.length; ) {
      if (filled === block.length) {
        block = new Uint8Array(Math.min(LARGEST_BLOCK_BYTES, Math.max(SMALLEST_BLOCK_BYTES, 2 * block.length)))
        blocks.push(block)
        filled = 0
      }
      const part = piece.subarray(taken, taken + block.length - filled)
      block.set(part, filled)
      filled += part.length
      taken += part.length
    }
  }
  return blocks.map((one) => (one === block ? one.subarray(0, filled) : one))
}
