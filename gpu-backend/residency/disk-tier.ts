// The disk tier: packed deltas as files, one for each digest, least recently used out first.
// It takes in canonical files, whose digest and content are checked, and never fetches anything by itself.
// Invariants: a delta that is used has the digest it is named after and is packed for the graph; a file and the note of it
// come and go in one turn of the event loop, so that taking in and removing one delta at once leave no half of it.
import { mkdirSync, readdirSync, renameSync, rmSync, statSync } from 'node:fs'
import { utimes } from 'node:fs/promises'
import { join } from 'node:path'
import type { BaseModel } from '../../adapters/base-model.ts'
import { MAX_RANK } from '../../adapters/canonical.ts'
import { BackendError } from '../errors.ts'
import { log } from '../log.ts'
import { layoutOf } from '../model/delta-layout.ts'
import type { ProjectionGroup } from '../model/projection-groups.ts'
import { adapterMissing } from './adapter-missing.ts'
import { deltaPath, readDeltaHeader, tryDigest, WRITING_SUFFIX, writeDeltaFile } from './delta-file.ts'
import { DeltaIntake } from './delta-intake.ts'
import { writeWithRoom } from './full-disk.ts'
import type { PackedFile } from './intake-thread.ts'

/** What the server needs to know of a delta before it runs. */
export interface DeltaInfo {
  readonly chatTemplate: string | undefined
}

export interface StoredDelta {
  /** Of the file, as it is on disk. */
  readonly bytes: number
  /** Milliseconds since the epoch. */
  readonly lastUsedMs: number
}

/** Of a write that goes on. */
const LONGEST_PAUSE_MS = 10 * 60_000

export class DiskTier {
  readonly dir: string
  readonly #base: BaseModel
  readonly #groups: readonly ProjectionGroup[]
  readonly #layout: string
  readonly #capacityBytes: number
  readonly #maxRank: number
  readonly #intake: DeltaIntake<PackedFile>
  /** In order of use: the least recently used first. */
  readonly #files = new Map<string, StoredDelta>()
  readonly #infos = new Map<string, DeltaInfo>()
  #bytes = 0

  /**
   * Opens, or makes, the tier in `dir`, for deltas up to `maxRank`; leftovers of interrupted writes are removed. Another process
   * may still run there, as where one backend takes another's place.
   */
  constructor(
    dir: string,
    base: BaseModel,
    groups: readonly ProjectionGroup[],
    capacityBytes: number,
    maxRank = MAX_RANK,
  ) {
    this.dir = dir
    this.#base = base
    this.#groups = groups
    this.#layout = layoutOf(groups)
    this.#capacityBytes = capacityBytes
    this.#maxRank = maxRank
    this.#intake = DeltaIntake.packing(base, groups, {
      has: (digest) => this.has(digest),
      keep: (digest, delta) => this.#keep(digest, delta),
    })
    mkdirSync(dir, { recursive: true })
    // What else lies there is not ours.
    const names = readdirSync(dir, { withFileTypes: true }).flatMap((entry) => (entry.isFile() ? [entry.name] : []))
    const found = names.flatMap((name) => {
      const stat = statSync(join(dir, name), { throwIfNoEntry: false })
      return stat ? [{ name, bytes: stat.size, lastUsedMs: stat.mtimeMs }] : []
    })
    const interruptedMs = Date.now() - LONGEST_PAUSE_MS
    for (const { name, bytes, lastUsedMs } of found.sort((x, y) => x.lastUsedMs - y.lastUsedMs)) {
      const digest = tryDigest(name)
      if (digest !== undefined) this.#note(digest, { bytes, lastUsedMs })
      else if (name.endsWith(WRITING_SUFFIX) && lastUsedMs < interruptedMs) rmSync(join(dir, name), { force: true })
    }
  }

  get count(): number {
    return this.#files.size
  }

  has(digest: string): boolean {
    return this.#files.has(digest)
  }

  digests(): string[] {
    return [...this.#files.keys()]
  }

  tryGet(digest: string): StoredDelta | undefined {
    return this.#files.get(digest)
  }

  /**
   * The delta's metadata, marking it as used.
   * @throws BackendError `adapter_missing` when it is not here, `unavailable` when it cannot be looked at now
   */
  async use(digest: string): Promise<DeltaInfo> {
    const file = this.#files.get(digest)
    if (file === undefined) throw adapterMissing(digest)
    const now = new Date()
    this.#files.delete(digest)
    this.#files.set(digest, { bytes: file.bytes, lastUsedMs: now.getTime() })
    try {
      const info = this.#infos.get(digest) ?? (await this.#readInfo(digest))
      this.#infos.set(digest, info)
      // The order of use outlives the process as the files' times, where a disk can be written.
      await utimes(deltaPath(this.dir, digest), now, now).catch((error: NodeJS.ErrnoException) => {
        if (error.code === 'ENOENT') throw error
      })
      return info
    } catch (error) {
      if (error instanceof BackendError) throw error
      // A file that is damaged, gone or packed for another graph is as good as none: the edge sends it again.
      this.discard(digest)
      throw adapterMissing(digest)
    }
  }

  /**
   * Takes in the canonical file `body`; a delta that is here already is left as it is.
   * @throws BackendError as `DeltaIntake.take` and `writeWithRoom`
   */
  async admit(digest: string, body: AsyncIterable<Uint8Array>, maxBytes: number): Promise<void> {
    await this.#intake.take(digest, body, maxBytes, { maxRank: this.#maxRank })
  }

  /** Removes a delta that cannot be read. A disk that is failing may not let go of the file: it is used no more all the same. */
  discard(digest: string): void {
    try {
      this.remove(digest)
    } catch (error) {
      log('error', 'delta_not_removed', { digest, reason: String(error) })
    }
  }

  /** @throws Error where the disk does not let go of the file; the delta is forgotten all the same */
  remove(digest: string): void {
    this.#bytes -= this.#files.get(digest)?.bytes ?? 0
    this.#files.delete(digest)
    this.#infos.delete(digest)
    rmSync(deltaPath(this.dir, digest), { force: true })
  }

  /** Takes in nothing from then on. */
  async close(): Promise<void> {
    await this.#intake.close()
  }

  async #keep(digest: string, delta: PackedFile): Promise<void> {
    const path = deltaPath(this.dir, digest)
    const [base, layout] = [this.#base.fingerprint, this.#layout]
    const write = () => writeDeltaFile(path, { digest, base, layout, ...delta })
    const written = await writeWithRoom(this.dir, write, async () => this.#drop(delta.values.byteLength))
    renameSync(written.temporary, path)
    this.#note(digest, { bytes: written.bytes, lastUsedMs: Date.now() })
    this.#shrink(digest)
  }

  async #readInfo(digest: string): Promise<DeltaInfo> {
    const header = await readDeltaHeader(deltaPath(this.dir, digest), this.#groups, this.#base)
    if (header.digest !== digest || header.base !== this.#base.fingerprint || header.layout !== this.#layout) {
      throw new Error(`${deltaPath(this.dir, digest)} holds ${header.digest} for ${header.base} in another layout.`)
    }
    return { chatTemplate: header.chatTemplate }
  }

  #note(digest: string, file: StoredDelta): void {
    this.#bytes += file.bytes - (this.#files.get(digest)?.bytes ?? 0)
    this.#files.set(digest, file)
  }

  /** Removes as many bytes, the least recently used first; false where there was nothing. */
  #drop(bytes: number): boolean {
    const [before, wanted] = [this.#files.size, this.#bytes - bytes]
    for (const digest of this.#files.keys()) if (this.#bytes > wanted) this.remove(digest)
    return before > 0
  }

  #shrink(newest: string): void {
    for (const digest of this.#files.keys()) {
      if (this.#bytes <= this.#capacityBytes) return
      if (digest !== newest) this.remove(digest)
    }
  }
}
