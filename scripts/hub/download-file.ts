// Brings one file of the Hub onto the disk: resumed where an earlier attempt broke off, verified, then renamed.
// Knows bytes, not models. Invariant: a file under its final name is complete and has the hash that the Hub states; one process
// at a time adds to what is there of it.
import { createHash } from 'node:crypto'
import { createReadStream, existsSync, statSync } from 'node:fs'
import { mkdir, open, readdir, rename, rm } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { setTimeout as delay } from 'node:timers/promises'
import { CliError } from '../cli-error.ts'
import { lockFile } from '../file-lock.ts'
import { type Hub, type HubFile, type HubRevision, openFile, unreachable } from './hub.ts'

export interface DownloadOptions {
  /** Told how many bytes of the file are on the disk. */
  readonly onProgress: (bytes: number) => void
  /** Waited before the n-th attempt in a row that brought nothing. */
  readonly retryDelayMs: (attempt: number) => number
}

/** Attempts in a row that bring no byte before the download gives up; what is there stays for the next time. */
const MAX_FRUITLESS = 5

/** Bytes of `file` that need not be fetched again for `target`. */
export function bytesPresent(file: HubFile, target: string): number {
  const found = [target, partOf(file, target)].find((path) => existsSync(path))
  return found === undefined ? 0 : Math.min(file.bytes, statSync(found).size)
}

/**
 * Downloads `file` to `target`; does nothing where a verified copy is there already.
 * @returns whether anything was fetched
 * @throws CliError when the Hub refuses, the connection keeps breaking, the disk is full, the bytes are not the stated ones or
 * another process is downloading it
 */
export async function downloadFile(
  hub: Hub,
  revision: HubRevision,
  file: HubFile,
  target: string,
  options: DownloadOptions,
): Promise<boolean> {
  if (await isThere(file, target, options)) return false
  await mkdir(dirname(target), { recursive: true })
  const lock = lockFile(`${target}.part.lock`, `Another pull is downloading ${target}: wait until it has ended.`)
  try {
    // That other one may have ended a moment ago.
    if (await isThere(file, target, options)) return false
    await fetchWhole(hub, revision, file, target, options)
    return true
  } finally {
    lock.release()
  }
}

/** Whether `target` is a file of somebody else's: neither the one of the Hub nor one that an interrupted pull was to replace. */
export async function isForeign(file: HubFile, target: string): Promise<boolean> {
  return existsSync(target) && !existsSync(partOf(file, target)) && !(await isIntact(file, target))
}

async function isThere(file: HubFile, target: string, { onProgress }: DownloadOptions): Promise<boolean> {
  const there = existsSync(target) && (await isIntact(file, target))
  if (there) onProgress(file.bytes)
  return there
}

async function fetchWhole(
  hub: Hub,
  revision: HubRevision,
  file: HubFile,
  target: string,
  options: DownloadOptions,
): Promise<void> {
  const part = partOf(file, target)
  await fetchRest(hub, revision, file, part, options)
  if (!(await isIntact(file, part))) {
    await rm(part)
    throw new CliError(
      `${file.path} of ${revision.id} arrived with other bytes than the Hub states (${file.hash.kind} ${file.hash.hex}): it was removed; pull again.`,
    )
  }
  await rename(part, target)
  await removeOtherParts(target)
}

/** Named after its content, so that the rest of another version is never appended to it. */
function partOf(file: HubFile, target: string): string {
  return `${target}.${file.hash.hex.slice(0, 12)}.part`
}

async function removeOtherParts(target: string): Promise<void> {
  const prefix = `${basename(target)}.`
  const names = await readdir(dirname(target))
  for (const name of names) {
    if (name.startsWith(prefix) && name.endsWith('.part')) await rm(join(dirname(target), name))
  }
}

/** Attempts until the part has every byte. */
async function fetchRest(
  hub: Hub,
  revision: HubRevision,
  file: HubFile,
  part: string,
  options: DownloadOptions,
): Promise<void> {
  let fruitless = 0
  for (;;) {
    const before = existsSync(part) ? statSync(part).size : 0
    if (before === file.bytes && existsSync(part)) return
    // More than the whole file cannot be a beginning of it.
    if (before > file.bytes) await rm(part)
    const failure = await fetchOnce(hub, revision, file, part, options)
    const after = existsSync(part) ? statSync(part).size : 0
    // Of an empty file nothing can come, and it is whole.
    fruitless = after > before || after === file.bytes ? 0 : fruitless + 1
    if (fruitless === MAX_FRUITLESS) {
      throw failure ?? new CliError(`${hub.endpoint} keeps ending ${file.path} early: pull again later.`, 3)
    }
    if (fruitless > 0) await delay(options.retryDelayMs(fruitless))
  }
}

/** One request, appended to the part. Returns why it ended early, if it says so. */
async function fetchOnce(
  hub: Hub,
  revision: HubRevision,
  file: HubFile,
  part: string,
  { onProgress }: DownloadOptions,
): Promise<CliError | undefined> {
  const handle = await open(part, 'a')
  try {
    let { size } = await handle.stat()
    const response = await openFile(hub, revision, file, size)
    if (!response.ok) {
      await response.body?.cancel()
      if (response.status === 416) await handle.truncate(0)
      return new CliError(`${hub.endpoint} answered HTTP ${response.status} for ${file.path}: pull again later.`, 3)
    }
    const resumed = response.headers.get('content-range')?.startsWith(`bytes ${size}-`) === true
    if (!resumed && size > 0) {
      await handle.truncate(0)
      size = 0
    }
    for await (const chunk of response.body ?? []) {
      // A server that sends more than it stated must not fill the disk; the hash will refuse what came.
      if (size + chunk.byteLength > file.bytes) return undefined
      await handle.writeFile(chunk)
      size += chunk.byteLength
      onProgress(size)
    }
    return undefined
  } catch (error) {
    if (error instanceof CliError) throw error
    if ((error as NodeJS.ErrnoException).code === 'ENOSPC') {
      throw new CliError(`The disk of ${dirname(part)} is full: make room and pull again, it goes on where it stopped.`)
    }
    if (error instanceof Error && 'syscall' in error) throw error
    return unreachable(hub, error)
  } finally {
    await handle.close()
  }
}

/** Whether the file at `path` has the size and the hash that the Hub states. */
async function isIntact({ bytes, hash }: HubFile, path: string): Promise<boolean> {
  if (statSync(path).size !== bytes) return false
  const hasher = createHash(hash.kind === 'sha256' ? 'sha256' : 'sha1')
  // Git hashes a file with its size before it.
  if (hash.kind === 'git') hasher.update(`blob ${bytes}\0`)
  await pipeline(createReadStream(path, { highWaterMark: 1 << 20 }), hasher)
  return hasher.digest('hex') === hash.hex
}
