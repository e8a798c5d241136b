// Keeps the KV of prompts' chunks as they are computed, so that the next prompt with the same beginning starts after them.
// A chunk is named by its tenant, its delta and every token up to its end: nothing is shared between tenants or deltas.
// Least recently used out first. Invariant: only whole prefill chunks are reused, so that a cached prompt gives the same
// bits as a computed one.
import { createHash } from 'node:crypto'
import type { FloatArray } from './float-array.ts'

/** One prompt takes no more of the cache than this. */
const LARGEST_SHARE = 1 / 4

export class PrefixCache {
  readonly #chunkTokens: number
  readonly #maxChunks: number
  /** By name, least recently used first. Of a prompt's chunks the last count as used first: without the others they are useless. */
  readonly #chunks = new Map<string, FloatArray>()

  /** Room for `capacityBytes` of KV, of which a token takes `bytesPerToken`. */
  constructor(capacityBytes: number, chunkTokens: number, bytesPerToken: number) {
    this.#chunkTokens = chunkTokens
    this.#maxChunks = Math.floor(capacityBytes / (chunkTokens * bytesPerToken))
  }

  /** The names of the whole chunks of `tokens`, in order. */
  names(tenant: string, digest: string | null, tokens: Int32Array): string[] {
    const names: string[] = []
    let before = JSON.stringify([tenant, digest])
    for (let end = this.#chunkTokens; end <= tokens.length; end += this.#chunkTokens) {
      const chunk = tokens.subarray(end - this.#chunkTokens, end)
      before = createHash('sha256').update(before).update(chunk).digest('base64')
      names.push(`${before}\n${digest}`)
    }
    return names
  }

  /** What `save` copied of these chunks, up to the first that is not there. */
  find(names: readonly string[]): FloatArray[] {
    const saved: FloatArray[] = []
    for (const name of names) {
      const values = this.#chunks.get(name)
      if (!values) break
      saved.push(values)
    }
    this.#touch(names.slice(0, saved.length))
    return saved
  }

  /**
   * Keeps chunk `index` of a prompt, where it is not there yet and the prompt does not take too much of the cache. `copy`
   * returns it, in the memory of a chunk that has gone where it is given one: new memory costs many times a copy.
   */
  save(names: readonly string[], index: number, copy: (into: FloatArray | undefined) => FloatArray): void {
    const name = names[index]!
    if (index >= this.#maxChunks * LARGEST_SHARE || this.#chunks.has(name)) return
    let free: FloatArray | undefined
    if (this.#chunks.size >= this.#maxChunks) {
      const [oldest, values] = this.#chunks.entries().next().value!
      this.#chunks.delete(oldest)
      free = values
    }
    this.#chunks.set(name, copy(free))
    this.#touch(names.slice(0, index + 1))
  }

  /** Forgets everything computed with `digest`. */
  forget(digest: string): void {
    for (const name of [...this.#chunks.keys()]) if (name.endsWith(`\n${digest}`)) this.#chunks.delete(name)
  }

  #touch(names: readonly string[]): void {
    for (const name of names.toReversed()) {
      const values = this.#chunks.get(name)
      if (!values) continue
      this.#chunks.delete(name)
      this.#chunks.set(name, values)
    }
  }
}
