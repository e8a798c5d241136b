// The canonical file on this machine's disk. Knows no edge.
import { createHash } from 'node:crypto'
import { open } from 'node:fs/promises'

/** Writes the pieces of `encodeDeltaStream`, one in memory at a time; returns the file's digest. Throws AdapterError. */
export async function writeDelta(
  file: string,
  pieces: AsyncIterable<Uint8Array<ArrayBuffer>>,
  onWritten: (bytes: number) => void = () => undefined,
): Promise<string> {
  const hash = createHash('sha256')
  let bytes = 0
  const handle = await open(file, 'w')
  try {
    for await (const piece of pieces) {
      hash.update(piece)
      await handle.writeFile(piece)
      bytes += piece.byteLength
      onWritten(bytes)
    }
  } finally {
    await handle.close()
  }
  return `sha256:${hash.digest('hex')}`
}
