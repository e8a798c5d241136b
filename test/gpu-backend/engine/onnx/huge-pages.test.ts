// Large pages under what a model computes with: which memory is meant, and that the system gives them.
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { largeStretches, usedParts, useHugePages } from '../../../../gpu-backend/engine/onnx/huge-pages.ts'
import fc from '../../../support/properties.ts'
import { temporaryDir } from '../../../support/temporary-dir.ts'

const MB = 1 << 20
const START = 0x7f0000000000

/** One mapping as /proc/PID/smaps tells of it. */
function mapping(start: number, bytes: number, rss: number, { perms = 'rw-p', inode = 0, name = '' } = {}): string {
  const head = `${start.toString(16)}-${(start + bytes).toString(16)} ${perms} 00000000 00:00 ${inode}  ${name}`
  return `${head}\nSize:           ${bytes / 1024} kB\nKernelPageSize:        4 kB\nRss:            ${rss / 1024} kB\nPss:                   4 kB\nVmFlags: rd wr mr\n`
}

describe('the memory that large pages are put under', () => {
  test('is what is large, in use and this process’s own, in whole large pages', () => {
    const smaps =
      mapping(START, 16384, 16384, { perms: 'r-xp', inode: 7, name: '/usr/bin/node' }) +
      mapping(START + 4096 + 2 * MB, 142 * MB, 138 * MB, { name: '[heap]' }) +
      mapping(START + 512 * MB, 32 * MB, 32 * MB)
    expect(largeStretches(smaps)).toEqual([
      { start: START + 4 * MB, end: START + 144 * MB },
      { start: START + 512 * MB, end: START + 544 * MB },
    ])
  })

  test.each<[string, string]>([
    ['small', mapping(START, 8 * MB, 8 * MB)],
    ['hardly touched', mapping(START, 64 * MB, 8 * MB)],
    ['a file’s', mapping(START, 64 * MB, 64 * MB, { inode: 7, name: '/data/weights.bin' })],
    ['shared', mapping(START, 64 * MB, 64 * MB, { perms: 'rw-s' })],
    ['read only', mapping(START, 64 * MB, 64 * MB, { perms: 'r--p' })],
    ['guarded', mapping(START, 64 * MB, 0, { perms: '---p' })],
  ])('is none that is %s', (_, smaps) => {
    expect(largeStretches(smaps + mapping(START + 512 * MB, 4096, 4096))).toEqual([])
  })
})

test('of a stretch what is used is taken in parts, none of them too long for one call', () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.boolean(), fc.integer({ min: 1, max: 200 })), { maxLength: 8 }), (runs) => {
      const pages = runs.flatMap(([isUsed, count]) => Array.from({ length: count }, () => isUsed))
      const stretch = { start: START, end: START + pages.length * 2 * MB }
      const taken = pages.map(() => 0)
      for (const { start, end } of usedParts(stretch, (page) => pages[(page - START) / (2 * MB)]!)) {
        if (end <= start || end - start > 128 * MB) return false
        for (let page = start; page < end; page += 2 * MB) taken[(page - START) / (2 * MB)]!++
      }
      return taken.every((times, page) => times === Number(pages[page]))
    }),
  )
})

describe.runIf(givesLargePages())('on a system that has them', () => {
  const dir = temporaryDir()
  const weights = (bytes: number) => {
    const path = join(dir, `${bytes}.bin`)
    writeFileSync(path, new Uint8Array(bytes))
    return path
  }

  test('memory is in large pages once a model is loaded, and holds what it held', async () => {
    const values = new Float32Array((64 * MB) / 4).map((_, i) => i)
    const before = bytesOf('AnonHugePages')
    await useHugePages(weights(1 * MB))
    expect(bytesOf('AnonHugePages')).toBe(before)
    await useHugePages(weights(16 * MB))
    expect(bytesOf('AnonHugePages')).toBeGreaterThanOrEqual(before + 48 * MB)
    expect(values.findIndex((value, i) => value !== i)).toBe(-1)
  })

  test('memory that nobody has written to stays the system’s', async () => {
    const untouched = new Uint8Array(512 * MB)
    untouched.fill(1, 0, 64 * MB)
    const before = bytesOf('Rss')
    await useHugePages(weights(16 * MB))
    expect(bytesOf('Rss')).toBeLessThan(before + 64 * MB)
    expect(untouched.length).toBe(512 * MB)
  })
})

/** Bytes of this process in memory (Rss), or of those in large pages. */
function bytesOf(which: 'Rss' | 'AnonHugePages'): number {
  return (
    Number(new RegExp(`^${which}: +(\\d+) kB`, 'm').exec(readFileSync('/proc/self/smaps_rollup', 'utf8'))![1]) * 1024
  )
}

/** Linux from 6.1 on, unless whoever runs it forbids large pages. */
function givesLargePages(): boolean {
  if (process.platform !== 'linux') return false
  const [major, minor] = readFileSync('/proc/sys/kernel/osrelease', 'utf8').split('.').map(Number)
  if (major! < 6 || (major === 6 && minor! < 1)) return false
  try {
    return !readFileSync('/sys/kernel/mm/transparent_hugepage/enabled', 'utf8').includes('[never]')
  } catch {
    return false
  }
}
