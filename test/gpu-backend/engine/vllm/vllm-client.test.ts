// Calls that a server takes and does not come to, with HTTP as vLLM speaks it.
import { createServer, type ServerResponse } from 'node:http'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { VllmClient, VllmStalled } from '../../../../gpu-backend/engine/vllm/vllm-client.ts'
import { closeServer, listenOnLoopback } from '../../../support/loopback.ts'

const STALL_MS = 200
/** What becomes of the next call. */
let begin: (response: ServerResponse) => void
const http = createServer((_, response) => begin(response))
let client: VllmClient

beforeAll(async () => {
  client = new VllmClient({ url: await listenOnLoopback(http) }, undefined, STALL_MS)
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
