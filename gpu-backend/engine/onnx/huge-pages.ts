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

/** A stretch of this process's memory, in whole large pages. */
export interface Stretch {
  readonly start: number
  readonly end: number
}

/**
 * Puts large pages under whatever of this process's memory is large, in use and its own: to be called once a model whose
 * weights are in the file at `weightsPath` is loaded, before deltas come and go. Changes nothing where the system cannot
 * (not Linux, an older kernel, no large pages free): the model is slower then.
 */
export function useHugePages(weightsPath: string): void {
  if (statSync(weightsPath).size < WORTH_BYTES) return
  const calls = memoryCalls()
  if (!calls) return
  const { madvise, mincore } = calls
  const used = new Uint8Array(LARGE_PAGE_BYTES / PAGE_BYTES)
  for (const { start, end } of largeStretches(ownMappings())) {
    for (let page = start; page < end; page += LARGE_PAGE_BYTES) {
      mincore(page, LARGE_PAGE_BYTES, used)
      if (used.reduce((sum, one) => sum + one, 0) >= MIN_USED * used.length) madvise(page, LARGE_PAGE_BYTES, COLLAPSE)
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
