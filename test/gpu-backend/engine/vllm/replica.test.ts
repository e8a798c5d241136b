import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterAll, afterEach, beforeAll, beforeEach, expect, test, vi } from 'vitest'
import { Replica } from '../../../../gpu-backend/engine/vllm/replica.ts'
import { VllmClient, VllmLost } from '../../../../gpu-backend/engine/vllm/vllm-client.ts'

const SOON = { timeout: 60_000, interval: 50 }
let isWell = true
const http = createServer(({ url }, response) => {
  // It takes the call and never comes to it.
  if (url === '/v1/load_lora_adapter') return
  response.statusCode = isWell ? 200 : 500
  response.end('{"data": []}')
})

let replica: Replica
let watched: Promise<void>

beforeAll(() => new Promise<void>((resolve) => void http.listen(0, '127.0.0.1', resolve)))
afterAll(() => {
  http.closeAllConnections()
  http.close()
})
beforeEach(async () => {
  isWell = true
  const url = `http://127.0.0.1:${(http.address() as AddressInfo).port}`
  replica = new Replica({
    name: 'tested',
    client: new VllmClient({ url }, undefined),
    adapterCapacity: 1,
    check: async () => 'base',
    findAdapter: () => undefined,
    onChange: () => {},
  })
  watched = replica.watch()
  await vi.waitFor(() => expect(replica.isReady).toBe(true), SOON)
})
afterEach(async () => {
  replica.close()
  await watched
})

test('a server that stops answering is given up with all that runs there, and used again once it is well', async () => {
  const { gone } = replica
  isWell = false
  await vi.waitFor(() => expect(gone.aborted).toBe(true), SOON)
  expect(replica.isReady).toBe(false)
  isWell = true
  await vi.waitFor(() => expect(replica.isReady).toBe(true), SOON)
  expect(replica.gone.aborted).toBe(false)
})

test('a load that such a server does not come to is over with it', async () => {
  const adapter = { digest: `sha256:${'0'.repeat(64)}`, path: '/shared/one', bytes: 1 }
  const load = replica.adapters.ensure(adapter)
  isWell = false
  await expect(load).rejects.toThrow(VllmLost)
  expect(replica.hasLoaded(adapter.digest)).toBe(false)
})
