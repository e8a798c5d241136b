// Linux's calls for memory, through koffi: addresses are numbers here.
import koffi from 'koffi'

/** mmap(2), munmap(2), madvise(2) and mincore(2); undefined on other systems. */
export function memoryCalls() {
  if (process.platform !== 'linux') return undefined
  const library = koffi.load('libc.so.6')
  return {
    mmap: library.func('mmap', 'uintptr_t', ['uintptr_t', 'size_t', 'int', 'int', 'int', 'int64_t']),
    munmap: library.func('munmap', 'int', ['uintptr_t', 'size_t']),
    madvise: library.func('madvise', 'int', ['uintptr_t', 'size_t', 'int']),
    mincore: library.func('mincore', 'int', ['uintptr_t', 'size_t', 'uint8_t *']),
  }
}
