// A text as one of 2^32 numbers, the same for ever: canaries' users and adapters' backends stay where it has put them.

/** FNV-1a over code points, then MurmurHash3's finaliser, since FNV alone leaves similar texts in order. */
export function hash32(text: string): number {
  let hash = 0x811c9dc5
  for (const char of text) hash = Math.imul(hash ^ char.codePointAt(0)!, 0x01000193)
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b)
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35)
  return (hash ^ (hash >>> 16)) >>> 0
}
