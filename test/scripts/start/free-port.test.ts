import { createServer } from 'node:http'
import { expect, test } from 'vitest'
import { requireFreePort } from '../../../scripts/start/free-port.ts'
import { freePort } from '../../support/free-port.ts'
import { closeServer, listenOnLoopback } from '../../support/loopback.ts'

test('a port that something listens on is refused, and any other taken', async () => {
  const server = createServer((_request, response) => response.end())
  const port = Number(new URL(await listenOnLoopback(server)).port)
  const sentence = `Port ${port} is in use: stop what listens there or choose another with --port.`
  await expect(requireFreePort(port, '--port')).rejects.toThrow(sentence)
  await closeServer(server)
  await requireFreePort(await freePort(), '--port')
})

test.each([6000, 6665, 10080])('port %i is refused, where no browser and no edge could ask', async (port) => {
  const sentence = `Port ${port} is one that fetch and browsers refuse: choose another with --backend-port.`
  await expect(requireFreePort(port, '--backend-port')).rejects.toThrow(sentence)
})
