import { once } from 'node:events'
import { Worker } from 'node:worker_threads'
import { expect, test } from 'vitest'

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
