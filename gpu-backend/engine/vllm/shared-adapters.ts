// The directory that vLLM shares with us: each delta as a PEFT directory of its own, least recently used out first.
// Takes in canonical files, which PEFT's loader reads as they are, and never fetches anything by itself.
// Invariants: a path is used for one admission only, so that no cache of vLLM's takes one for another; it is removed when
// nothing holds the delta and `discard` (whoever has loaded it) has let go of it.
import { mkdirSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import { rm, utimes } from 'node:fs/promises'
import { join } from 'node:path'
import * as z from 'zod/mini'
import { type BaseModel, targetNames } from '../../../adapters/base-model.ts'
import type { ModuleLimits } from '../../../adapters/limits.ts'
import { log } from '../../log.ts'
import { adapterMissing } from '../../residency/adapter-missing.ts'
import { DeltaIntake } from '../../residency/delta-intake.ts'
import { tooManyOpen, writeWithRoom } from '../../residency/full-disk.ts'
import type { CheckedFile } from '../../residency/intake-thread.ts'
import { ADAPTER_CONFIG, ADAPTER_WEIGHTS, writePeftDirectory } from './peft-directory.ts'

/** `<64 hex digits of the digest>-<8 of the admission>`. */
const DIRECTORY = /^([0-9a-f]{64})-[0-9a-f]{8}$/
const LEFTOVER = /\.(writing|probe)$/

/** What is ours in PEFT's configuration; vLLM passes over it. */
const PeftConfig = z.object({ polylora_chat_template: z.optional(z.string()) })

/** A delta on disk. */
export interface SharedAdapter {
  readonly digest: string
  /** Absolute, and the same for vLLM. */
  readonly path: string
  readonly bytes: number
}

/** A delta that stays until it has been released as often as it is held. */
export interface HeldAdapter {
  readonly adapter: SharedAdapter
  readonly chatTemplate: string | undefined
  release(times: number): void
}

interface Entry extends SharedAdapter {
  holds: number
  /** Settled when nothing holds it any more, while somebody waits for that. */
  idle: PromiseWithResolvers<void> | undefined
  chatTemplate: string | undefined
  isRead: boolean
}

export class SharedAdapters {
  readonly dir: string
  readonly #intake: DeltaIntake<CheckedFile>
  readonly #capacityBytes: number
  readonly #discard: (adapter: SharedAdapter) => Promise<void>
  /** In order of use: the least recently used first. */
  readonly #entries = new Map<string, Entry>()
  #bytes = 0

  /** Opens, or makes, the directory; leftovers of interrupted writes are removed. */
  constructor(dir: string, base: BaseModel, capacityBytes: number, discard: (adapter: SharedAdapter) => Promise<void>) {
    this.dir = dir
    this.#intake = DeltaIntake.ofFiles(base, {
      has: (digest) => this.#entries.has(digest),
      keep: (digest, delta) => this.#keep(digest, delta),
    })
    this.#capacityBytes = capacityBytes
    this.#discard = discard
    mkdirSync(dir, { recursive: true })
    const found = readdirSync(dir).flatMap((name) => this.#tryOpen(name))
    for (const { adapter } of found.sort((x, y) => x.usedMs - y.usedMs)) this.#note(adapter)
  }

  get count(): number {
    return this.#entries.size
  }

  digests(): string[] {
    return [...this.#entries.keys()]
  }

  tryFind(digest: string): SharedAdapter | undefined {
    return this.#entries.get(digest)
  }

  /**
   * The delta, marked as used and held so many `times`.
   * @throws BackendError `adapter_missing`, or as `tooManyOpen`
   */
  hold(digest: string, times: number): HeldAdapter {
    const entry = this.#entries.get(digest)
    if (!entry) throw adapterMissing(digest)
    try {
      if (!entry.isRead) entry.chatTemplate = readConfig(entry.path).polylora_chat_template
      entry.isRead = true
    } catch (error) {
      const refusal = tooManyOpen(error)
      if (refusal) throw refusal
      // A damaged or vanished directory is as good as none: the edge sends it again.
      this.forgetSoon(digest)
      throw adapterMissing(digest)
    }
    entry.holds += times
    this.#entries.delete(digest)
    this.#entries.set(digest, entry)
    // The order of use outlives the process as the directories' times.
    void utimes(entry.path, new Date(), new Date()).catch(() => {})
    const release = (released: number) => {
      entry.holds -= released
      if (entry.holds === 0) entry.idle?.resolve()
    }
    return { adapter: entry, chatTemplate: entry.chatTemplate, release }
  }

  /**
   * Takes in the canonical file `body`; a delta that is here already is left as it is.
   * @throws BackendError as `DeltaIntake.take` and `writeWithRoom`, or `adapter_missing` where it is forgotten meanwhile
   */
  async admit(
    digest: string,
    body: AsyncIterable<Uint8Array>,
    maxBytes: number,
    limits: ModuleLimits,
  ): Promise<SharedAdapter> {
    await this.#intake.take(digest, body, maxBytes, limits)
    const entry = this.#entries.get(digest)
    // It was here when it came, and was forgotten while its digest was checked.
    if (!entry) throw adapterMissing(digest)
    return entry
  }

  /** Forgets the delta at once, and removes its files once nothing holds it; resolves then. */
  async forget(digest: string): Promise<void> {
    const entry = this.#entries.get(digest)
    if (!entry) return
    this.#entries.delete(digest)
    this.#bytes -= entry.bytes
    if (entry.holds > 0) {
      entry.idle = Promise.withResolvers()
      await entry.idle.promise
    }
    await this.#discard(entry)
    await rm(entry.path, { recursive: true, force: true })
  }

  /** The same while others go on. Files that cannot be removed take up space and do no other harm. */
  forgetSoon(digest: string): void {
    this.forget(digest).catch((error: unknown) => {
      log('error', 'delta_not_removed', { digest, reason: String(error) })
    })
  }

  /** Takes in nothing from then on. */
  async close(): Promise<void> {
    await this.#intake.close()
  }

  async #keep(digest: string, delta: CheckedFile): Promise<void> {
    const name = `${digest.slice('sha256:'.length)}-${crypto.randomUUID().slice(0, 8)}`
    const path = join(this.dir, name)
    const config = JSON.stringify(peftConfig(delta))
    const write = () => writePeftDirectory(path, delta.bytes, config)
    await writeWithRoom(this.dir, write, () => this.#drop())
    this.#note({ digest, path, bytes: delta.bytes.length + config.length })
    this.#shrink(digest)
  }

  /** A directory of an earlier process; removed where it is not whole. */
  #tryOpen(name: string): { adapter: SharedAdapter; usedMs: number }[] {
    const path = join(this.dir, name)
    const hex = DIRECTORY.exec(name)?.[1]
    if (hex === undefined && !LEFTOVER.test(name)) return []
    try {
      if (hex === undefined) throw new Error(`${path} is left over from a write.`)
      const bytes = statSync(join(path, ADAPTER_WEIGHTS)).size + statSync(join(path, ADAPTER_CONFIG)).size
      return [{ adapter: { digest: `sha256:${hex}`, path, bytes }, usedMs: statSync(path).mtimeMs }]
    } catch {
      rmSync(path, { recursive: true, force: true })
      return []
    }
  }

  #note(adapter: SharedAdapter): void {
    const entry: Entry = { ...adapter, holds: 0, idle: undefined, chatTemplate: undefined, isRead: false }
    const earlier = this.#entries.get(adapter.digest)
    if (earlier) this.forgetSoon(adapter.digest)
    this.#entries.set(adapter.digest, entry)
    this.#bytes += adapter.bytes
  }

  /** Removes the least recently used one that nothing holds; false where there is none. */
  async #drop(): Promise<boolean> {
    const idle = [...this.#entries.values()].find(({ holds }) => holds === 0)
    if (idle) await this.forget(idle.digest)
    return idle !== undefined
  }

  #shrink(newest: string): void {
    for (const [digest, { holds }] of this.#entries) {
      if (this.#bytes <= this.#capacityBytes) return
      if (digest !== newest && holds === 0) this.forgetSoon(digest)
    }
  }
}

/** The scale is in B already: alpha = r, whatever the rank of each module. */
function peftConfig({ chatTemplate, ranks }: CheckedFile) {
  const r = Math.max(...ranks.values())
  return {
    peft_type: 'LORA',
    task_type: 'CAUSAL_LM',
    r,
    lora_alpha: r,
    target_modules: targetNames(ranks.keys()),
    bias: 'none',
    ...(chatTemplate === undefined ? {} : { polylora_chat_template: chatTemplate }),
  }
}

function readConfig(path: string): z.infer<typeof PeftConfig> {
  return PeftConfig.parse(JSON.parse(readFileSync(join(path, ADAPTER_CONFIG), 'utf8')))
}
