// Which tokens may come next, as bits: bit t % 32 of word t / 32 is of token t.

/** Forbids in `logits` every token that is not in `mask`, or beyond it. Most words of a mask are empty or full. */
export function keepOnly(logits: Float32Array, mask: Uint32Array): void {
  for (const [word, bits] of mask.entries()) {
    const start = word * 32
    if (bits === 0) logits.fill(Number.NEGATIVE_INFINITY, start, start + 32)
    else if (bits !== 0xffffffff) {
      for (let bit = 0; bit < 32; bit++) if (((bits >>> bit) & 1) === 0) logits[start + bit] = Number.NEGATIVE_INFINITY
    }
  }
  logits.fill(Number.NEGATIVE_INFINITY, mask.length * 32)
}
