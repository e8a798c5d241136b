// Calls that a server takes and does not come to, with HTTP as vLLM speaks it.
import { once } from 'node:events'
import { createServer, type ServerResponse } from 'node:http'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { VllmClient, VllmLost, VllmStalled } from '../../../../gpu-backend/engine/vllm/vllm-client.ts'
import { closeServer, listenOnLoopback } from '../../../support/loopback.ts'

const STALL_MS = 200
/** What becomes of the next call. */
let begin: (response: ServerResponse) => void
const http = createServer((_, response) => begin(response))
let url: string
let client: VllmClient

beforeAll(async () => {
  url = await listenOnLoopback(http)
  client = new VllmClient({ url }, undefined, STALL_MS)
})
afterAll(() => closeServer(http))

async function readAll(): Promise<void> {
  for await (const _ of await client.complete({}, new AbortController().signal)) {
  }
}

test('an answer that stops coming has stalled, before it begins and in the middle', async () => {
  begin = () => {}
  await expect(readAll()).rejects.toThrow(VllmStalled)
  begin = (response) => response.write('data: {"choices": []}\n\n')
  await expect(readAll()).rejects.toThrow(VllmStalled)
})

test('a load whose answer stops coming has stalled', async () => {
  begin = (response) => response.write('{')
  await expect(client.loadAdapter('one', '/shared/one')).rejects.toThrow(VllmStalled)
})

test('a server may be below a path, and one that speaks no TLS is lost to whoever asks it so', async () => {
  const { port } = new URL(url)
  const asked = once(http, 'request')
  begin = (response) => response.end()
  await new VllmClient({ url: `${url}/gpu/0/` }, undefined, STALL_MS).health()
  expect((await asked)[0].url).toBe('/gpu/0/health')
  const secure = new VllmClient({ url: `https://127.0.0.1:${port}` }, undefined, STALL_MS)
  await expect(secure.health()).rejects.toThrow(VllmLost)
})
