// Damages bytes the way that disks, networks and attackers do, from a seed: the same seed always gives the same damage.

/** Lengths, counts and offsets that break careless arithmetic. */
const WORDS = [
  0n,
  1n,
  0x7fn,
  0xffn,
  0xffffn,
  0x7fffffffn,
  0xffffffffn,
  0x7fffffffffffffffn,
  0xffffffffffffffffn,
  1n << 40n,
]

/** A damaged copy of `bytes`; most damage falls on the first `headerBytes` and the last 2,000 bytes, where structure lies. */
export function mutate(bytes: Uint8Array, random: () => number, headerBytes: number): Uint8Array {
  const pick = (end: number) => Math.floor(random() * end)
  const place = (length: number) => {
    const where = random()
    if (where < 0.6) return pick(Math.min(headerBytes, length) || 1)
    return where < 0.8 ? Math.max(0, length - 1 - pick(Math.min(2000, length))) : pick(length || 1)
  }
  let copy: Uint8Array = bytes.slice()
  for (let count = 1 + pick(4); count > 0; count--) {
    const at = place(copy.length)
    const kind = random()
    if (kind < 0.35) copy[at] = pick(256)
    else if (kind < 0.5) copy[at] = (copy[at] ?? 0) ^ (1 << pick(8))
    else if (kind < 0.7) writeWord(copy, at, WORDS[pick(WORDS.length)]!, random() < 0.5 ? 4 : 8)
    else if (kind < 0.78) copy = copy.slice(0, at)
    else if (kind < 0.86) copy = splice(copy, at, 1 + pick(16), new Uint8Array())
    else if (kind < 0.94) copy = splice(copy, at, 0, copy.slice(place(copy.length)).subarray(0, 1 + pick(64)))
    else copy.copyWithin(at, place(copy.length), place(copy.length) + pick(64))
  }
  return copy
}

function writeWord(bytes: Uint8Array, at: number, word: bigint, width: number): void {
  for (let i = 0; i < width && at + i < bytes.length; i++) bytes[at + i] = Number((word >> BigInt(8 * i)) & 0xffn)
}

function splice(bytes: Uint8Array, at: number, removed: number, added: Uint8Array): Uint8Array {
  const kept = Math.min(removed, bytes.length - at)
  const result = new Uint8Array(bytes.length - kept + added.length)
  result.set(bytes.subarray(0, at))
  result.set(added, at)
  result.set(bytes.subarray(at + kept), at + added.length)
  return result
}
