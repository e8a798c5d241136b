// Hand-made files in the form of torch.save, with pickles that torch itself would never write.

/** One member of a ZIP archive; `method` 8 claims that it is compressed. */
interface Member {
  readonly name: string
  readonly bytes: Uint8Array
  readonly method?: number
  readonly size?: number
}

/** A ZIP archive of stored members (checksums are zero; readers of tensors don't look at them). */
export function zipArchive(members: readonly Member[]): Uint8Array {
  const pieces: Uint8Array[] = []
  const directory: Uint8Array[] = []
  let offset = 0
  for (const { name, bytes, method = 0, size = bytes.length } of members) {
    const text = new TextEncoder().encode(name)
    const local = record(30, [
      [0, 0x04034b50, 4],
      [8, method, 2],
      [18, bytes.length, 4],
      [22, size, 4],
      [26, text.length, 2],
    ])
    directory.push(
      record(46, [
        [0, 0x02014b50, 4],
        [10, method, 2],
        [20, bytes.length, 4],
        [24, size, 4],
        [28, text.length, 2],
        [42, offset, 4],
      ]),
      text,
    )
    pieces.push(local, text, bytes)
    offset += local.length + text.length + bytes.length
  }
  const size = directory.reduce((sum, piece) => sum + piece.length, 0)
  const end = record(22, [
    [0, 0x06054b50, 4],
    [8, members.length, 2],
    [10, members.length, 2],
    [12, size, 4],
    [16, offset, 4],
  ])
  return join([...pieces, ...directory, end])
}

function record(length: number, fields: readonly (readonly [at: number, value: number, width: number])[]): Uint8Array {
  const bytes = new Uint8Array(length)
  const view = new DataView(bytes.buffer)
  for (const [at, value, width] of fields)
    width === 2 ? view.setUint16(at, value, true) : view.setUint32(at, value, true)
  return bytes
}

/** Pickle opcodes as text and numbers, one after another. */
export function pickle(...parts: readonly (string | number)[]): Uint8Array {
  return join(parts.map((part) => (typeof part === 'number' ? Uint8Array.of(part) : new TextEncoder().encode(part))))
}

export function join(pieces: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(pieces.reduce((sum, piece) => sum + piece.length, 0))
  let offset = 0
  for (const piece of pieces) {
    whole.set(piece, offset)
    offset += piece.length
  }
  return whole
}

/** An archive whose data.pkl is the given pickle. */
export function torchArchive(data: Uint8Array, ...others: readonly Member[]): Uint8Array {
  return zipArchive([{ name: 'archive/data.pkl', bytes: data }, ...others])
}
