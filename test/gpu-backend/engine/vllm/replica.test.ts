import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { Replica } from '../../../../gpu-backend/engine/vllm/replica.ts'
import { VllmClient } from '../../../../gpu-backend/engine/vllm/vllm-client.ts'

const SOON = { timeout: 60_000, interval: 50 }
let isWell = true
const http = createServer((_, response) => {
  response.statusCode = isWell ? 200 : 500
  response.end('{"data": []}')
})

beforeAll(() => new Promise<void>((resolve) => void http.listen(0, '127.0.0.1', resolve)))
afterAll(() => http.close())

test('a server that stops answering is given up with all that runs there, and used again once it is well', async () => {
  const url = `http://127.0.0.1:${(http.address() as AddressInfo).port}`
  const replica = new Replica({
    name: 'tested',
    client: new VllmClient({ url }, undefined),
    adapterCapacity: 1,
    check: async () => 'base',
    findAdapter: () => undefined,
    onChange: () => {},
  })
  const watched = replica.watch()
  await vi.waitFor(() => expect(replica.isReady).toBe(true), SOON)
  const { gone } = replica
  isWell = false
  await vi.waitFor(() => expect(gone.aborted).toBe(true), SOON)
  expect(replica.isReady).toBe(false)
  isWell = true
  await vi.waitFor(() => expect(replica.isReady).toBe(true), SOON)
  expect(replica.gone.aborted).toBe(false)
  replica.close()
  await watched
})
