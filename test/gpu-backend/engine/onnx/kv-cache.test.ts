import { once } from 'node:events'
import { Worker } from 'node:worker_threads'
import { expect, test } from 'vitest'
import { HostKvCache } from '../../../../gpu-backend/engine/onnx/kv-cache.ts'
import { reservePages } from '../../../../gpu-backend/engine/onnx/kv-pages.ts'
import { OnnxRuntime } from '../../../../gpu-backend/engine/onnx/ort.ts'
import { OrtError } from '../../../../gpu-backend/engine/onnx/ort-api.ts'

/** As the engine's thread comes to it: after larger blocks have been freed, which changes how glibc takes memory. */
const MAKE_CACHE = `
  const { parentPort } = require('node:worker_threads')
  const MEGABYTE = 2 ** 20
  async function main(module) {
    const { HostKvCache } = await import(module)
    new ArrayBuffer(31 * MEGABYTE).transfer(0)
    const before = process.memoryUsage.rss()
    const shape = { layers: 10, kvHeads: 3, headDim: 64, contextTokens: 1024, floatType: 'f32' }
    const cache = new HostKvCache(undefined, shape, 32)
    parentPort.postMessage({ bytes: 32 * 1024 * cache.bytesPerToken, taken: process.memoryUsage.rss() - before })
  }
  void main(process.argv[2])
`

test('a cache that no token is in takes no memory', async () => {
  const module = new URL('../../../../gpu-backend/engine/onnx/kv-cache.ts', import.meta.url).href
  const worker = new Worker(MAKE_CACHE, { eval: true, argv: [module] })
  const [{ bytes, taken }] = await once(worker, 'message')
  expect(bytes).toBeGreaterThan(400e6)
  expect(taken).toBeLessThan(50e6)
  await worker.terminate()
})

test('rows that change places have what the other had, and no other row is touched', () => {
  const runtime = new OnnxRuntime()
  const shape = { layers: 2, kvHeads: 2, headDim: 4, contextTokens: 8, floatType: 'f32' } as const
  const cache = new HostKvCache(runtime, shape, 3)
  const tensors = [0, 1, 2].map((row) => cache.prefill(row).map(({ value }) => value.data as Float32Array))
  for (const [row, values] of tensors.entries()) {
    for (const [i, data] of values.entries()) data.set(data.map((_, place) => 1000 * row + 100 * i + place))
  }
  /** The first tokens of each head of a row. */
  const tokensOf = (row: number, tokens: number) =>
    tensors[row]!.map((data) => [0, 1].map((head) => [...data.subarray(head * 32, head * 32 + tokens * 4)]))
  const before = { first: tokensOf(0, 3), middle: tokensOf(1, 8), last: tokensOf(2, 5) }
  cache.swap({ rows: [0, 2], tokens: [3, 5] })
  expect(tokensOf(0, 5)).toEqual(before.last)
  expect(tokensOf(2, 3)).toEqual(before.first)
  expect(tokensOf(1, 8)).toEqual(before.middle)
  cache.release()
  runtime.release()
})

/** Four rows are filled, of which two hold less afterwards. */
const GIVE_BACK = `
  const { parentPort } = require('node:worker_threads')
  async function main(module) {
    const { HostKvCache } = await import(module)
    const { OnnxRuntime } = await import(new URL('./ort.ts', module).href)
    const shape = { layers: 10, kvHeads: 3, headDim: 64, contextTokens: 1000, floatType: 'f32' }
    const cache = new HostKvCache(new OnnxRuntime(), shape, 4)
    const tensors = [0, 1, 2, 3].map((row) => cache.prefill(row).map(({ value }) => value.data))
    cache.hold([1000, 1000, 1000, 1000], 4000)
    for (const [row, values] of tensors.entries()) for (const data of values) data.fill(row + 1)
    const before = process.memoryUsage.rss()
    cache.hold([1000, 300, 1000, 0], 4000)
    const untouched = process.memoryUsage.rss() - before
    cache.hold([1000, 300, 1000, 0], 2300)
    const given = before - process.memoryUsage.rss()
    const kept = tensors.map((values, row) =>
      values.every((data) => [0, 1, 2].every((head) => {
        const held = [1000, 300, 1000, 0][row]
        return data.subarray(head * 64000, head * 64000 + held * 64).every((value) => value === row + 1)
      })),
    )
    const zeros = tensors[3].map((data) => data.filter((value) => value !== 0).length / data.length)
    cache.hold([1000, 300, 1000, 1000], 3300)
    for (const data of tensors[3]) data.fill(9)
    const again = tensors[3].every((data) => data.every((value) => value === 9))
    parentPort.postMessage({ untouched, given, kept, zeros: Math.max(...zeros), again, bytesPerToken: cache.bytesPerToken })
  }
  void main(process.argv[2])
`

test.runIf(process.platform === 'linux')(
  'a cache whose rows hold less than they did gives memory back where it is short, and loses nothing that they hold',
  async () => {
    const module = new URL('../../../../gpu-backend/engine/onnx/kv-cache.ts', import.meta.url).href
    const worker = new Worker(GIVE_BACK, { eval: true, argv: [module] })
    const [{ untouched, given, kept, zeros, again, bytesPerToken }] = await once(worker, 'message')
    expect(Math.abs(untouched)).toBeLessThan(1e6)
    expect(kept).toEqual([true, true, true, true])
    // But for pages that reach into what is held.
    expect(given).toBeGreaterThan(0.9 * 1700 * bytesPerToken)
    expect(zeros).toBeLessThan(0.1)
    expect(again).toBe(true)
    await worker.terminate()
  },
)

test.runIf(process.platform === 'linux')(
  'a cache for which a process has no addresses is refused in one sentence',
  () => {
    const refused = () => reservePages(2 ** 50)
    expect(refused).toThrow(OrtError)
    expect(refused).toThrow(/^[^\n]+--max-batch[^\n]+\.$/)
  },
)
