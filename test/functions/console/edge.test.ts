import { createServer } from 'node:http'
import { expect, test } from 'vitest'
import * as z from 'zod/mini'
import { callEdge, EdgeError, readEdge, readFile } from '../../../functions/console/api/edge.ts'
import { closeServer, listenOnLoopback } from '../../support/loopback.ts'
import { expectOneSentence } from '../../support/one-sentence.ts'

test.each(['“dev-demo”', 'dev\ndemo'])('a key that no header can carry is refused in a sentence: %j', async (key) => {
  const refusal = await callEdge(key, '/v1/key').catch((error: unknown) => error)
  expect(refusal).toBeInstanceOf(EdgeError)
  expectOneSentence((refusal as EdgeError).message)
})

test('an answer that breaks off is a sentence, a file’s and one to be read', async () => {
  const server = createServer((_, response) => {
    response.writeHead(200, { 'content-length': '100' }).write('{"da', () => response.destroy())
  })
  const url = await listenOnLoopback(server)
  for (const read of [readFile('dev-demo', url), readEdge('dev-demo', url, z.unknown())]) {
    const failure = await read.catch((error: unknown) => error)
    expect(failure).toBeInstanceOf(EdgeError)
    expect((failure as EdgeError).message).toContain('broke off')
    expectOneSentence((failure as EdgeError).message)
  }
  await closeServer(server)
})
