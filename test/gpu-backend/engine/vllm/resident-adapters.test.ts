// The table of a server's deltas beside the server's own, with HTTP as vLLM speaks it; loads are tried on vLLM itself.
import { createServer } from 'node:http'
import { text } from 'node:stream/consumers'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { ResidentAdapters } from '../../../../gpu-backend/engine/vllm/resident-adapters.ts'
import type { SharedAdapter } from '../../../../gpu-backend/engine/vllm/shared-adapters.ts'
import { VllmClient } from '../../../../gpu-backend/engine/vllm/vllm-client.ts'
import { closeServer, listenOnLoopback } from '../../../support/loopback.ts'

/** What the server has, by name. */
const served = new Map<string, string>()
const http = createServer((request, response) => {
  void text(request).then((body) => {
    const { lora_name: name, lora_path: path } = JSON.parse(body) as { lora_name: string; lora_path: string }
    if (request.url === '/v1/load_lora_adapter') served.set(name, path)
    else if (!served.delete(name)) response.statusCode = 404
    response.end('{}')
  })
})
let client: VllmClient

beforeAll(async () => {
  client = new VllmClient({ url: await listenOnLoopback(http) }, undefined)
})
afterAll(() => closeServer(http))
beforeEach(() => served.clear())

function table(capacity: number): ResidentAdapters {
  const { signal } = new AbortController()
  return new ResidentAdapters(client, capacity, { isAtWork: () => false, gone: () => signal })
}

/** Admission `times` of delta `index`. */
function adapter(index: number, times = 1): SharedAdapter {
  return { digest: `sha256:${String(index).repeat(64)}`, path: `/shared/${index}-${times}`, bytes: 1 }
}

test.each([1, 8])('of two admissions of a delta the server keeps the later one, with room for %i', async (capacity) => {
  const adapters = table(capacity)
  await adapters.ensure(adapter(1))
  const name = await adapters.ensure(adapter(1, 2))
  // The earlier one is let go of after that.
  await adapters.unload(adapter(1))
  expect([...served]).toEqual([[name, '/shared/1-2']])
  expect(await adapters.ensure(adapter(1, 2))).toBe(name)
  expect(adapters.loads - adapters.evictions).toBe(1)
})

test('a delta that is missed under an earlier name stays known under its present one', async () => {
  const adapters = table(8)
  const earlier = await adapters.ensure(adapter(1))
  const name = await adapters.ensure(adapter(1, 2))
  adapters.lost(adapter(1).digest, earlier)
  expect(await adapters.ensure(adapter(1, 2))).toBe(name)
  adapters.lost(adapter(1).digest, name)
  expect(adapters.has(adapter(1).digest)).toBe(false)
})

test('of deltas that are taken in again and again beside each other none waits for another for ever', async () => {
  const adapters = table(2)
  const admissions = Array.from({ length: 40 }, (_, i) => adapter(i % 5, 1 + Math.floor(i / 5)))
  const names = await Promise.all(admissions.map((one) => adapters.ensure(one)))
  expect(new Set(names).size).toBe(admissions.length)
  expect(adapters.loads - adapters.evictions).toBe(served.size)
  expect(adapters.digests()).toHaveLength(served.size)
})
