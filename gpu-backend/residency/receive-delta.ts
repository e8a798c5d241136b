// A delta's bytes as they arrive, counted and hashed, and the refusal of one that is not here.
// Knows nothing of where deltas are kept. Invariant: what it returns has the digest that was asked for.
import { createHash } from 'node:crypto'
import { BackendError } from '../errors.ts'

/** The whole of `body`. @throws BackendError `too_large`, `digest_mismatch` */
export async function receiveDelta(
  digest: string,
  body: AsyncIterable<Uint8Array>,
  maxBytes: number,
): Promise<Uint8Array> {
  const bytes = await readBody(body, maxBytes)
  const actual = `sha256:${createHash('sha256').update(bytes).digest('hex')}`
  if (actual === digest) return bytes
  throw new BackendError(
    'digest_mismatch',
    `The bytes sent have the digest ${actual}, not ${digest}: send the file again.`,
  )
}

export function adapterMissing(digest: string): BackendError {
  return new BackendError(
    'adapter_missing',
    `The delta ${digest} is not on this backend: send it to PUT /v1/adapters/${digest}.`,
    { digest },
  )
}

async function readBody(body: AsyncIterable<Uint8Array>, maxBytes: number): Promise<Uint8Array> {
  const pieces: Uint8Array[] = []
  let length = 0
  for await (const piece of body) {
    length += piece.length
    if (length > maxBytes)
      throw new BackendError('too_large', `The delta is larger than the ${maxBytes} bytes allowed here.`)
    pieces.push(piece)
  }
  return Buffer.concat(pieces, length)
}
