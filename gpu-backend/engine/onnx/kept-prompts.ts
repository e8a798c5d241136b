// Copies chunks of prompts out of a row of the KV cache once they are computed, and into the row of a prompt that begins alike.
// Knows sequences and rows; which chunks are alike, and for how long they are kept, is the prefix cache's.
import type { Sequence } from '../../scheduler/sequence.ts'
import type { FloatArray } from './float-array.ts'
import type { HostKvCache } from './kv-cache.ts'
import { PrefixCache } from './prefix-cache.ts'

export class KeptPrompts {
  readonly #kv: HostKvCache
  readonly #chunkTokens: number
  readonly #prefixes: PrefixCache
  /** The names of their prompts' chunks. */
  readonly #names = new WeakMap<Sequence, readonly string[]>()

  /** `chunkTokens`: what prompts are computed in at once. */
  constructor(kv: HostKvCache, chunkTokens: number, capacityBytes: number) {
    this.#kv = kv
    this.#chunkTokens = chunkTokens
    this.#prefixes = new PrefixCache(capacityBytes, chunkTokens, kv.bytesPerToken)
  }

  /** Copies what is kept of the prompt's beginning into the sequence's row. Returns how many tokens that are. */
  restore(sequence: Sequence): number {
    const { tenant, digest, promptTokens, row } = sequence
    const names = this.#prefixes.names(tenant, digest, promptTokens)
    this.#names.set(sequence, names)
    // The last token must be computed: the next one is sampled from its logits.
    const saved = this.#prefixes.find(names.slice(0, Math.floor((promptTokens.length - 1) / this.#chunkTokens)))
    for (const [i, values] of saved.entries()) {
      this.#kv.restore(values, row, i * this.#chunkTokens, this.#chunkTokens)
    }
    return saved.length * this.#chunkTokens
  }

  /**
   * Keeps the prompt's tokens `start` .. `end`, which have just been computed, where they are a whole chunk of a sequence that
   * was given to `restore`. Chunk by chunk, since everybody in the batch waits for the copy.
   */
  save(sequence: Sequence, start: number, end: number): void {
    const names = this.#names.get(sequence)
    if (!names || end - start < this.#chunkTokens) return
    const copy = (into: FloatArray | undefined) => this.#kv.save(sequence.row, start, this.#chunkTokens, into)
    this.#prefixes.save(names, start / this.#chunkTokens, copy)
  }

  /** Forgets everything computed with `digest`. */
  forget(digest: string): void {
    this.#prefixes.forget(digest)
  }
}
