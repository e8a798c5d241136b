// A vector as text, which takes a third of the room of its numbers: so it is answered, and kept for an Idempotency-Key.

/** Little-endian f32 in base64: what OpenAI's clients ask for by themselves. */
export function encodeVector(vector: readonly number[]): string {
  const bytes = new Uint8Array(vector.length * 4)
  const view = new DataView(bytes.buffer)
  for (const [index, value] of vector.entries()) view.setFloat32(index * 4, value, true)
  let binary = ''
  for (const byte of bytes) binary += String.fromCharCode(byte)
  return btoa(binary)
}

/** The vector that `encodeVector` made this of, rounded to f32. */
export function decodeVector(base64: string): number[] {
  const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0))
  const view = new DataView(bytes.buffer)
  return Array.from({ length: bytes.length / 4 }, (_, index) => view.getFloat32(index * 4, true))
}
