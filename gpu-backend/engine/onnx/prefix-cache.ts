// Keeps the KV of prompts that were computed, so that the next prompt with the same beginning starts after it.
// Keyed by tenant, delta and tokens: nothing is shared between tenants or between deltas. Least recently used out first.
// Invariant: only whole prefill chunks are reused, so a cached prompt gives the same bits as a computed one.
import type { KvSnapshot } from './kv-cache.ts'

interface Entry {
  readonly tokens: Int32Array
  readonly snapshot: KvSnapshot
  readonly bytes: number
}

export class PrefixCache {
  readonly #capacityBytes: number
  readonly #chunkTokens: number
  /** By owner (tenant and delta), each in order of use. */
  readonly #entries = new Map<string, Entry[]>()
  #bytes = 0

  constructor(capacityBytes: number, chunkTokens: number) {
    this.#capacityBytes = capacityBytes
    this.#chunkTokens = chunkTokens
  }

  /** The longest saved beginning of `tokens`, in whole chunks and short of the last token, which must be computed. */
  find(
    tenant: string,
    digest: string | null,
    tokens: Int32Array,
  ): { snapshot: KvSnapshot; tokens: number } | undefined {
    const entries = this.#entries.get(owner(tenant, digest)) ?? []
    let best: { entry: Entry; tokens: number } | undefined
    for (const entry of entries) {
      const common = commonLength(entry.tokens, tokens)
      const usable = this.#wholeChunks(Math.min(common, tokens.length - 1))
      if (usable > (best?.tokens ?? 0)) best = { entry, tokens: usable }
    }
    if (!best) return undefined
    this.#touch(owner(tenant, digest), best.entry)
    return { snapshot: best.entry.snapshot, tokens: best.tokens }
  }

  /** How many of `tokens` are worth saving: whole chunks, where they are not there yet and fit; 0: none. */
  worthSaving(tenant: string, digest: string | null, tokens: Int32Array, bytesPerToken: number): number {
    const whole = this.#wholeChunks(tokens.length)
    if (whole === 0 || whole * bytesPerToken > this.#capacityBytes / 4) return 0
    const known = this.#entries.get(owner(tenant, digest)) ?? []
    return known.some((entry) => commonLength(entry.tokens, tokens) >= whole) ? 0 : whole
  }

  save(tenant: string, digest: string | null, tokens: Int32Array, snapshot: KvSnapshot): void {
    const key = owner(tenant, digest)
    const entry = { tokens: tokens.slice(0, snapshot.tokens), snapshot, bytes: snapshot.values.byteLength }
    const entries = this.#entries.get(key) ?? []
    // What the new entry begins with is no longer needed on its own.
    const kept = entries.filter((old) => commonLength(old.tokens, entry.tokens) < old.tokens.length)
    this.#bytes += entry.bytes - entries.filter((old) => !kept.includes(old)).reduce((sum, old) => sum + old.bytes, 0)
    this.#entries.delete(key)
    this.#entries.set(key, [...kept, entry])
    this.#shrink()
  }

  /** Forgets everything computed with `digest`. */
  forget(digest: string): void {
    for (const [key, entries] of [...this.#entries]) {
      if (!key.endsWith(`\n${digest}`)) continue
      for (const { bytes } of entries) this.#bytes -= bytes
      this.#entries.delete(key)
    }
  }

  #wholeChunks(tokens: number): number {
    return Math.floor(tokens / this.#chunkTokens) * this.#chunkTokens
  }

  #touch(key: string, entry: Entry): void {
    const entries = this.#entries.get(key)!.filter((other) => other !== entry)
    this.#entries.delete(key)
    this.#entries.set(key, [...entries, entry])
  }

  #shrink(): void {
    for (const [key, entries] of this.#entries) {
      while (this.#bytes > this.#capacityBytes && entries.length > 0) this.#bytes -= entries.shift()!.bytes
      if (entries.length > 0) return
      this.#entries.delete(key)
    }
  }
}

function owner(tenant: string, digest: string | null): string {
  return `${JSON.stringify(tenant)}\n${digest}`
}

function commonLength(x: Int32Array, y: Int32Array): number {
  const length = Math.min(x.length, y.length)
  for (let i = 0; i < length; i++) if (x[i] !== y[i]) return i
  return length
}
