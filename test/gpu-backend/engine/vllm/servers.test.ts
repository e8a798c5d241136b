// Servers that never become what they should be: the start ends, and says why. No vLLM is needed to fail.
import { writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { EMBEDDED_MODEL } from '../../../../gpu-backend/config.ts'
import { StartupError } from '../../../../gpu-backend/errors.ts'
import { closeServer, listenOnLoopback } from '../../../support/loopback.ts'
import { expectOneSentence } from '../../../support/one-sentence.ts'
import { groupsBelow } from '../../../support/process-group.ts'
import { vllmEngines } from '../../../support/vllm-server.ts'

const engines = vllmEngines()

async function refusalOf(server: Parameters<typeof engines.start>[0]['server']): Promise<string> {
  const error = await engines.start({ modelPath: EMBEDDED_MODEL, server }).catch((reason: unknown) => reason)
  if (!(error instanceof StartupError)) throw error ?? new Error('it started')
  expectOneSentence(error.message)
  return error.message
}

describe('a start', () => {
  test('ends with what vLLM said where that ends before it was ever well', async () => {
    const command = join(engines.root, 'failing-vllm')
    writeFileSync(command, '#!/bin/sh\necho "ValueError: there is no such model." >&2\nexit 3\n', { mode: 0o755 })
    expect(await refusalOf({ kind: 'own', command, more: [] })).toBe(
      'vLLM ended before it could be used: ValueError: there is no such model.',
    )
    expect(groupsBelow(process.pid)).toEqual([])
  })

  describe('on a server that is up', () => {
    const http = createServer((request, response) => {
      response.statusCode = request.url === '/health' ? 200 : 500
      response.end('{}')
    })
    let url: string
    beforeAll(async () => {
      url = await listenOnLoopback(http)
    })
    afterAll(() => closeServer(http))

    test('ends where that never answers as vLLM does', async () => {
      const message = await refusalOf({ kind: 'running', addresses: [{ url }], apiKey: undefined })
      expect(message).toContain(new URL(url).host)
      expect(message).toContain('status 500')
    })
  })
})
