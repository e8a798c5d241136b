import { createServer } from 'node:http'
import { afterAll, afterEach, beforeAll, beforeEach, expect, onTestFinished, test, vi } from 'vitest'
import { Replica } from '../../../../gpu-backend/engine/vllm/replica.ts'
import { VllmClient, VllmLost, VllmStalled } from '../../../../gpu-backend/engine/vllm/vllm-client.ts'
import { closeServer, listenOnLoopback } from '../../../support/loopback.ts'

const SOON = { timeout: 60_000, interval: 50 }
const HOUR_MS = 3_600_000
let isWell = true
const http = createServer(({ url }, response) => {
  // It takes the call and never comes to it.
  if (url === '/v1/load_lora_adapter') return
  response.statusCode = isWell ? 200 : 500
  response.end('{"data": []}')
})

let url: string
let replica: Replica
let watched: Promise<void>
let hung = 0

beforeAll(async () => {
  url = await listenOnLoopback(http)
})
afterAll(() => closeServer(http))
beforeEach(async () => {
  ;[isWell, hung] = [true, 0]
  replica = new Replica({
    name: 'tested',
    client: new VllmClient({ url }, undefined),
    adapterCapacity: 1,
    check: async () => 'base',
    findAdapter: () => undefined,
    onChange: () => {},
    onHung: () => hung++,
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

test('a server that is lost and does not come back hangs, one that comes back does not', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
  onTestFinished(() => void vi.useRealTimers())
  const [isUp, isDown] = [
    async () => expect(replica.isReady).toBe(true),
    async () => expect(replica.isReady).toBe(false),
  ]
  replica.lost('a while')
  await isDown()
  await vi.waitFor(isUp, SOON)
  vi.advanceTimersByTime(HOUR_MS)
  expect(hung).toBe(0)
  isWell = false
  replica.lost('for ever')
  vi.advanceTimersByTime(HOUR_MS)
  expect(hung).toBe(1)
})

test('a server whose answers stall is given up, whatever its health says, unless others go on there', async () => {
  const { gone } = replica
  replica.heard()
  replica.stalled(new VllmStalled('nothing came'))
  expect(gone.aborted).toBe(false)
  vi.setSystemTime(Date.now() + HOUR_MS)
  onTestFinished(() => void vi.useRealTimers())
  replica.stalled(new VllmStalled('nothing came'))
  expect(gone.aborted).toBe(true)
  expect(replica.isReady).toBe(false)
})

test('a load that a server does not come to is over when that server is given up', async () => {
  const adapter = { digest: `sha256:${'0'.repeat(64)}`, path: '/shared/one', bytes: 1 }
  const load = replica.adapters.ensure(adapter)
  isWell = false
  await expect(load).rejects.toThrow(VllmLost)
  expect(replica.hasLoaded(adapter.digest)).toBe(false)
})
