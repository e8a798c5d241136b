import { expect, test } from 'vitest'
import { formatBytes, terminalProgress } from '../../scripts/progress.ts'

test('progress is one line of a terminal, and nothing anywhere else', () => {
  const written: string[] = []
  const stream = (isTTY: boolean) => ({ isTTY, write: (text: string) => written.push(text) })
  const silent = terminalProgress(stream(false))
  silent.update('uploading', 1, 2)
  silent.finish()
  expect(written).toEqual([])

  const bar = terminalProgress(stream(true))
  bar.update('uploading', 1_000_000, 2_000_000)
  bar.update('uploading', 1_000_000, 2_000_000)
  bar.update('probing', 0, 1)
  bar.finish()
  bar.finish()
  expect(written).toEqual([
    `\r\x1b[Kuploading  [${'#'.repeat(12)}${'.'.repeat(12)}] 1.0 MB of 2.0 MB`,
    '\r\x1b[Kprobing ...',
    '\r\x1b[K',
  ])
})

test.each([
  [999, '999 B'],
  [1500, '1.5 kB'],
  [2_500_000, '2.5 MB'],
  [3_210_000_000, '3.21 GB'],
])('%i bytes are written %s', (bytes, text) => {
  expect(formatBytes(bytes)).toBe(text)
})
