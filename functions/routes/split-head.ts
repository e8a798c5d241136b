// Looks at the first bytes of a stream without losing them. Memory holds the head and one piece, never the whole.

interface SplitStream {
  readonly head: Uint8Array
  /** The whole stream again, of known length. */
  readonly body: ReadableStream<Uint8Array>
}

/**
 * Reads the head of `stream`, whose length `headBytes` tells from its first `lengthBytes` bytes; shorter where the stream ends.
 * @throws whatever `headBytes` throws; the stream is cancelled then
 */
export async function splitHead(
  stream: ReadableStream<Uint8Array>,
  totalBytes: number,
  lengthBytes: number,
  headBytes: (first: Uint8Array) => number,
): Promise<SplitStream> {
  const reader = stream.getReader()
  const pieces: Uint8Array[] = []
  let have = 0
  const readUntil = async (want: number): Promise<Uint8Array> => {
    while (have < want) {
      const { done, value } = await reader.read()
      if (done) break
      pieces.push(value)
      have += value.byteLength
    }
    return concatenate(pieces, have)
  }

  let head: Uint8Array
  try {
    head = await readUntil(headBytes(await readUntil(lengthBytes)))
  } catch (error) {
    await reader.cancel()
    throw error
  }
  reader.releaseLock()
  const { readable, writable } = new FixedLengthStream(totalBytes)
  pump(head, stream, writable)
  return { head, body: readable }
}

/** A failure reaches the reader through the stream itself. */
async function pump(head: Uint8Array, rest: ReadableStream<Uint8Array>, writable: WritableStream): Promise<void> {
  try {
    const writer = writable.getWriter()
    await writer.write(head)
    writer.releaseLock()
    await rest.pipeTo(writable)
  } catch (error) {
    await writable.abort(error).catch(() => undefined)
  }
}

function concatenate(pieces: readonly Uint8Array[], length: number): Uint8Array {
  const whole = new Uint8Array(length)
  let offset = 0
  for (const piece of pieces) {
    whole.set(piece, offset)
    offset += piece.byteLength
  }
  return whole
}
