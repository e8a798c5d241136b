// Memory that the system gives page by page, as it is written, and takes back page by page.
import koffi from 'koffi'
import { MADV_DONTNEED, memoryCalls } from './libc.ts'
import { OrtError } from './ort-api.ts'

/** Of Linux's mmap(2) and madvise(2). */
const PROT_READ_WRITE = 3
const MAP_PRIVATE_ANONYMOUS_NORESERVE = 0x4022
/** With large pages a token would take the memory of thousands. */
const MADV_NOHUGEPAGE = 15

/** Zeros, of which only what was written takes memory. */
export interface Pages {
  readonly buffer: ArrayBuffer
  /** Makes zeros again of the pages that lie between the bytes `from` and `to`, and takes their memory back. */
  giveBack(from: number, to: number): void
  /** Nothing may read or write `buffer` afterwards. */
  release(): void
}

/** Whether there is such memory here: on Linux. */
export function hasPages(): boolean {
  return memoryCalls() !== undefined
}

/**
 * `bytes` of such memory; undefined where the system has none.
 * @throws OrtError where this process may not have so much, though none of it is used yet
 */
export function reservePages(bytes: number): Pages | undefined {
  const calls = memoryCalls()
  if (!calls) return undefined
  const { mmap, munmap, madvise, getpagesize } = calls
  const address = mmap(bytes, PROT_READ_WRITE, MAP_PRIVATE_ANONYMOUS_NORESERVE, -1)
  if (address === undefined) {
    throw new OrtError(
      `There are no ${(bytes / 1e9).toFixed(1)} GB of addresses for the KV cache: lower --max-batch or --context, or raise the limit on this process's memory (ulimit -v).`,
    )
  }
  madvise(address, bytes, MADV_NOHUGEPAGE)
  const page = getpagesize()
  return {
    buffer: koffi.view(address, bytes),
    giveBack(from, to) {
      const [start, end] = [Math.ceil(from / page) * page, Math.floor(to / page) * page]
      if (end > start) madvise(address + BigInt(start), end - start, MADV_DONTNEED)
    },
    release: () => munmap(address, bytes),
  }
}
