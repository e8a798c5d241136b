// Files by digest, kept in this browser's Cache Storage. A download that breaks off goes on where it was (HTTP ranges); a
// file that is complete is never fetched again. Beside them lies what the edge last said, for when it cannot be reached.
// Knows no model.
// Invariant: no byte leaves this file unless its file hashes to the digest that it was asked for by.
import type * as z from 'zod/mini'
import { digestOf } from '../../adapters/digest.ts'
import { BrowserError } from './browser-error.ts'
import type { EdgeClient } from './edge-client.ts'
import type { ModelFile } from './manifest.ts'

/** A download that is given up when it has stood still this often, after pauses that double. */
const MAX_STANDSTILLS = 4
const FIRST_PAUSE_MS = 250

export interface StoredFile {
  /** Path on the edge. */
  readonly path: string
  readonly file: ModelFile
}

export interface Answered<Answer> {
  readonly answer: Answer
  /** False: the last one that was kept. */
  readonly isCurrent: boolean
}

interface Getting {
  readonly signal?: AbortSignal
  /** Removes what is wanted less than the file, where there is no room for it. */
  readonly makeRoom?: () => Promise<void>
}

export class StoredFiles {
  readonly #cache: Cache
  readonly #edge: EdgeClient

  private constructor(cache: Cache, edge: EdgeClient) {
    this.#cache = cache
    this.#edge = edge
  }

  /** @throws BrowserError `storage` where the browser keeps nothing for the page, as where its site's data is blocked */
  static async open(name: string, edge: EdgeClient): Promise<StoredFiles> {
    if (!('caches' in globalThis)) {
      throw new BrowserError('storage', 'This page has no Cache Storage: serve it over HTTPS (or from this machine).')
    }
    try {
      const cache = await caches.open(name)
      // `get` takes locks, which may be refused by themselves.
      await navigator.locks.query()
      return new StoredFiles(cache, edge)
    } catch (error) {
      throw new BrowserError('storage', `This browser keeps no data of this site (${String(error)}): allow it to.`)
    }
  }

  /**
   * The file's bytes, from the store or the edge. `onBytes` is told of each piece as it comes.
   * @throws BrowserError `network`, `digest_mismatch`, `storage`, or as the edge refuses; the signal's reason
   */
  async get(
    { path, file }: StoredFile,
    onBytes: (bytes: number) => void,
    { signal, makeRoom }: Getting = {},
  ): Promise<Blob> {
    const url = this.#edge.url(path)
    // Two tabs that want the same file fetch it once.
    return navigator.locks.request(`polylora ${url}`, signal ? { signal } : {}, async () => {
      const stored = await this.#cache.match(url)
      if (stored) {
        const blob = await stored.blob()
        if (await matches(blob, file)) {
          onBytes(blob.size)
          return blob
        }
        await this.#cache.delete(url)
      }
      const blob = await this.#download(path, file, onBytes, signal)
      if (!(await matches(blob, file))) {
        throw new BrowserError('digest_mismatch', `What the edge sent for ${file.digest} is something else: try again.`)
      }
      await this.#keep(url, blob).catch(async (error: unknown) => {
        if (!makeRoom) throw error
        await makeRoom()
        await this.#keep(url, blob)
      })
      return blob
    })
  }

  /**
   * The edge's answer at `path`; the last one that was kept, parsed again, while the edge cannot be reached. What it refuses
   * stays refused.
   * @throws what `ask` throws, where there is no last one
   */
  async answer<Answer>(
    path: string,
    schema: z.ZodMiniType<Answer>,
    ask: () => Promise<Answer>,
  ): Promise<Answered<Answer>> {
    try {
      return { answer: await ask(), isCurrent: true }
    } catch (error) {
      if (!(error instanceof BrowserError) || error.code !== 'network') throw error
      const last = schema.safeParse(await (await this.#cache.match(this.#edge.url(path)))?.json())
      if (last.success) return { answer: last.data, isCurrent: false }
      throw error
    }
  }

  /** Keeps an answer, once the files that it names are here. Where there is no room for it none is kept: an older one would lie. */
  async keepAnswer(path: string, answer: object): Promise<void> {
    const url = this.#edge.url(path)
    const text = JSON.stringify(answer)
    // Where nothing has changed, nothing is written: it may be that nothing can be.
    if ((await (await this.#cache.match(url))?.text()) === text) return
    await this.#keep(url, new Blob([text])).catch(() => this.#cache.delete(url))
  }

  /** Removes the edge's files whose path is one that `unwanted` says. */
  async remove(unwanted: (path: string) => boolean): Promise<void> {
    for (const request of await this.#cache.keys()) {
      const path = this.#edge.pathOf(request.url)
      if (path !== undefined && unwanted(path)) await this.#cache.delete(request)
    }
  }

  async #keep(url: string, blob: Blob): Promise<void> {
    try {
      await this.#cache.put(url, new Response(blob, { headers: { 'content-length': String(blob.size) } }))
    } catch (error) {
      throw new BrowserError('storage', `This browser has no room for the download (${String(error)}): free some.`)
    }
  }

  /** The bytes, put together over as many requests as it takes. */
  async #download(
    path: string,
    file: ModelFile,
    onBytes: (bytes: number) => void,
    signal: AbortSignal | undefined,
  ): Promise<Blob> {
    const pieces: Uint8Array<ArrayBuffer>[] = []
    let received = 0
    let standstills = 0
    while (received < file.bytes) {
      const before = received
      for await (const piece of this.#edge.bytes(path, received, signal)) {
        received += piece.length
        if (received > file.bytes) break
        pieces.push(piece)
        onBytes(piece.length)
      }
      signal?.throwIfAborted()
      if (received > before) {
        standstills = 0
        continue
      }
      if (++standstills === MAX_STANDSTILLS) {
        throw new BrowserError(
          'network',
          `The download broke off after ${received} of ${file.bytes} bytes: check the connection and open it again; what is complete is kept.`,
        )
      }
      await new Promise((resolve) => setTimeout(resolve, FIRST_PAUSE_MS * 2 ** (standstills - 1)))
    }
    return new Blob(pieces)
  }
}

async function matches(blob: Blob, file: ModelFile): Promise<boolean> {
  if (blob.size !== file.bytes) return false
  return (await digestOf(new Uint8Array(await blob.arrayBuffer()))) === file.digest
}
