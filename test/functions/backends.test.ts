import { createServer, type ServerResponse } from 'node:http'
import { afterAll, expect, onTestFinished, test, vi } from 'vitest'
import { Backends } from '../../functions/router/backends.ts'
import { closeServer, listenOnLoopback } from '../support/loopback.ts'
import { BASE_INFO } from '../support/protocol-backend.ts'

const BEGIN_MS = 1_000_000
/** Later than anything that was said then is taken for granted. */
const LATER_MS = BEGIN_MS + 60_000

let answer: (response: ServerResponse) => void = (response) => response.end(JSON.stringify(BASE_INFO))
const server = createServer((_, response) => answer(response))
const url = await listenOnLoopback(server)
afterAll(() => closeServer(server))

test('what a backend serves is known while it is asked anew, and where it does not say it then', async () => {
  const backends = new Backends([url])
  expect(await backends.info(BEGIN_MS)).toEqual(BASE_INFO)
  const asked = Promise.withResolvers<ServerResponse>()
  answer = asked.resolve
  const anew = backends.info(LATER_MS)
  const response = await asked.promise
  // Nobody else waits for the answer.
  expect(await backends.info(LATER_MS)).toEqual(BASE_INFO)
  response.destroy()
  expect(await anew).toEqual(BASE_INFO)
})

test('the log is told once that a backend is not well, and once that it is again, by whichever request finds out', () => {
  const warned = vi.spyOn(console, 'warn').mockImplementation(() => undefined)
  onTestFinished(() => warned.mockRestore())
  const backends = new Backends([url])
  backends.failed(url)
  backends.failed(url)
  backends.answered(url, BEGIN_MS)
  backends.answered(url, BEGIN_MS)
  const told = warned.mock.calls.map(([line]) => JSON.parse(line))
  expect(told).toEqual([
    { event: 'backend_ailing', backend: url },
    { event: 'backend_recovered', backend: url },
  ])
})
