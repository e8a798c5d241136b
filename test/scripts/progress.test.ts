import { expect, test } from 'vitest'
import { formatBytes } from '../../scripts/format-bytes.ts'
import { type OnProgress, withProgress } from '../../scripts/progress.ts'

test('progress is one line of a terminal, gone when the work ends, however it does, and nothing anywhere else', async () => {
  const written: string[] = []
  const stream = (isTTY: boolean) => ({ isTTY, write: (text: string) => written.push(text) })
  const work = async (onProgress: OnProgress) => {
    onProgress('uploading', 1_000_000, 2_000_000)
    onProgress('uploading', 1_000_000, 2_000_000)
    onProgress('probing', 0, 1)
    return 'done'
  }
  expect(await withProgress(stream(false), work)).toBe('done')
  expect(written).toEqual([])

  const lines = [
    `\r\x1b[Kuploading  [${'#'.repeat(12)}${'.'.repeat(12)}] 1.0 MB of 2.0 MB`,
    '\r\x1b[Kprobing ...',
    '\r\x1b[K',
  ]
  expect(await withProgress(stream(true), work)).toBe('done')
  expect(written.splice(0)).toEqual(lines)

  const failing = async (onProgress: OnProgress) => {
    await work(onProgress)
    throw new Error('no space')
  }
  await expect(withProgress(stream(true), failing)).rejects.toThrow('no space')
  expect(written.splice(0)).toEqual(lines)

  await withProgress(stream(true), async () => {})
  expect(written).toEqual([])
})

test.each([
  [999, '999 B'],
  [1500, '1.5 kB'],
  [2_500_000, '2.5 MB'],
  [3_210_000_000, '3.21 GB'],
])('%i bytes are written %s', (bytes, text) => {
  expect(formatBytes(bytes)).toBe(text)
})
