// Large pages under a loaded model. A step of one row reads each weight once, and with pages of 4 KB a processor spends a
// tenth of that step looking them up (SmolLM2-135M in int8, on a virtual machine).
import { readFileSync, statSync } from 'node:fs'
import { memoryCalls } from './libc.ts'

/** Linux 6.1's MADV_COLLAPSE: copies a stretch of memory into large pages, now. */
const COLLAPSE = 25
const PAGE_BYTES = 4096
const LARGE_PAGE_BYTES = 2 << 20
/** A model, or a stretch of memory, of less than this is not worth the system calls. */
const WORTH_BYTES = 16 << 20
/** Share of a large page's small ones that must be in use: the others get memory as well, so that the process grows. */
const MIN_USED = 0.9
/** Of one call, which first waits for every core's attention: a call for each page took twice as long beside a busy thread. */
const MOST_PAGES = 64

/** A stretch of this process's memory, in whole large pages. */
export interface Stretch {
  readonly start: number
  readonly end: number
}

/**
 * Puts large pages under whatever of this process's memory is large, in use and its own, in another thread: to be called once a
 * model whose weights are in the file at `weightsPath` is loaded. Changes nothing where the system cannot (not Linux, an older
 * kernel, no large pages free) or the memory is gone meanwhile: the model is slower then. Ends early once `signal` aborts.
 */
export async function useHugePages(weightsPath: string, signal?: AbortSignal): Promise<void> {
  if (statSync(weightsPath).size < WORTH_BYTES) return
  const calls = memoryCalls()
  if (!calls) return
  const { madvise, mincore, malloc_trim } = calls
  // What was freed while the model was loaded would get large pages as well.
  malloc_trim(0)
  const used = new Uint8Array(LARGE_PAGE_BYTES / PAGE_BYTES)
  const isUsed = (page: number) =>
    mincore(page, LARGE_PAGE_BYTES, used) === 0 && used.reduce((sum, one) => sum + one, 0) >= MIN_USED * used.length
  for (const stretch of largeStretches(ownMappings())) {
    for (const { start, end } of usedParts(stretch, isUsed)) {
      if (signal?.aborted) return
      await new Promise((resolve) => madvise.async(start, end - start, COLLAPSE, resolve))
    }
  }
}

/** What of a stretch is used, in parts of so many large pages at most. */
export function* usedParts({ start, end }: Stretch, isUsed: (page: number) => boolean): Generator<Stretch> {
  let from = start
  for (let page = start; page < end; page += LARGE_PAGE_BYTES) {
    const next = page + LARGE_PAGE_BYTES
    const isPart = isUsed(page)
    if (!isPart && page > from) yield { start: from, end: page }
    if (!isPart) from = next
    else if (next === end || next - from === MOST_PAGES * LARGE_PAGE_BYTES) {
      yield { start: from, end: next }
      from = next
    }
  }
}

/** What /proc tells of this process's memory; nothing where a sandbox hides it. */
function ownMappings(): string {
  try {
    return readFileSync('/proc/self/smaps', 'utf8')
  } catch {
    return ''
  }
}

/** Where large pages may be worth it among the mappings that `smaps` (Linux's proc_pid_smaps(5)) lists. */
export function largeStretches(smaps: string): Stretch[] {
  const mappings = smaps.matchAll(
    /^([0-9a-f]+)-([0-9a-f]+) rw-p \S+ \S+ 0 [^\n]*\n(?:[A-Z][^\n]*\n)*?Rss: +(\d+) kB$/gm,
  )
  return [...mappings]
    .filter(([, , , usedKb]) => Number(usedKb) * 1024 >= WORTH_BYTES)
    .map(([, from, to]) => ({
      start: Math.ceil(Number.parseInt(from!, 16) / LARGE_PAGE_BYTES) * LARGE_PAGE_BYTES,
      end: Math.floor(Number.parseInt(to!, 16) / LARGE_PAGE_BYTES) * LARGE_PAGE_BYTES,
    }))
}
