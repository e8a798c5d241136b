// Linux's calls for memory and cores, through koffi: addresses are numbers here.
import koffi from 'koffi'

/** Of mallopt(3): from how many bytes on memory is the system's own, and goes back to it at once. */
export const M_MMAP_THRESHOLD = -3
/** Of madvise(2): the pages' memory goes. */
export const MADV_DONTNEED = 4
const MAP_FAILED = (1n << 64n) - 1n

/** mmap(2), munmap(2), madvise(2), mincore(2), getpagesize(2), and glibc's mallopt(3) and malloc_trim(3); undefined on other systems. */
export function memoryCalls() {
  const library = loadLibc()
  if (!library) return undefined
  const mmap = library.func('mmap', 'uintptr_t', ['uintptr_t', 'size_t', 'int', 'int', 'int', 'int64_t'])
  return {
    /** From the start of `file`, -1 for none, to an address that the system chooses; undefined where it maps nothing. */
    mmap(bytes: number, protection: number, flags: number, file: number): bigint | undefined {
      const address = BigInt(mmap(0, bytes, protection, flags, file, 0))
      return address === MAP_FAILED ? undefined : address
    },
    munmap: library.func('munmap', 'int', ['uintptr_t', 'size_t']),
    madvise: library.func('madvise', 'int', ['uintptr_t', 'size_t', 'int']),
    mincore: library.func('mincore', 'int', ['uintptr_t', 'size_t', 'uint8_t *']),
    getpagesize: library.func('getpagesize', 'int', []),
    mallopt: library.func('mallopt', 'int', ['int', 'int']),
    malloc_trim: library.func('malloc_trim', 'int', ['size_t']),
  }
}

/** sched_getaffinity(2), sched_setaffinity(2) and sched_getcpu(3); undefined on other systems. */
export function coreCalls() {
  const library = loadLibc()
  if (!library) return undefined
  return {
    sched_getaffinity: library.func('sched_getaffinity', 'int', ['int', 'size_t', 'uint8_t *']),
    sched_setaffinity: library.func('sched_setaffinity', 'int', ['int', 'size_t', 'uint8_t *']),
    sched_getcpu: library.func('sched_getcpu', 'int', []),
  }
}

function loadLibc() {
  return process.platform === 'linux' ? koffi.load('libc.so.6') : undefined
}
