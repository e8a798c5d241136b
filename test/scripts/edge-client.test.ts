import { writeFileSync } from 'node:fs'
import { createServer, type RequestListener, type Server } from 'node:http'
import { join } from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import * as z from 'zod'
import { callEdge, type EdgeAddress, tryCallEdgeJson, uploadToEdge } from '../../scripts/edge-client.ts'
import { closeServer, listenOnLoopback } from '../support/loopback.ts'
import { temporaryDir } from '../support/temporary-dir.ts'

const data = temporaryDir()
let server: Server

afterEach(() => closeServer(server))

async function serve(answer: RequestListener): Promise<EdgeAddress> {
  server = createServer(answer)
  return { url: await listenOnLoopback(server), apiKey: 'k' }
}

/** Uploads a file that no socket's buffers hold. */
function upload(edge: EdgeAddress, silenceMs?: number): Promise<void> {
  const file = join(data, 'delta')
  const bytes = 32 * 1024 ** 2
  writeFileSync(file, Buffer.alloc(bytes))
  return uploadToEdge(edge, '/v1/adapters/acme/x', { file, start: 0, end: bytes, headers: {}, silenceMs })
}

describe('what is no edge, or none for long', () => {
  test('a redirect is named, since the key would be lost on its way', async () => {
    const edge = await serve((request, response) =>
      response.writeHead(301, { location: `https://api.example.com${request.url}` }).end(),
    )
    await expect(callEdge(edge, '/v1/base')).rejects.toThrow(
      `${edge.url} redirects /v1/base to https://api.example.com/v1/base; give --edge the server that answers.`,
    )
    await expect(upload(edge)).rejects.toThrow(/redirects \/v1\/adapters\/acme\/x to https:\/\/api\.example\.com\//)
  })

  test('a page in place of an adapter is told so', async () => {
    const edge = await serve((_request, response) => response.writeHead(200).end('<p>Sign in</p>'))
    await expect(tryCallEdgeJson(edge, '/v1/adapters/acme/x', z.object({}))).rejects.toThrow(
      `${edge.url} answered /v1/adapters/acme/x with something else than a Polylora edge would; check --edge.`,
    )
  })

  test('a refusal that is none of an edge’s is told so, and a failure that may be the edge’s is not', async () => {
    let status = 404
    const edge = await serve((_request, response) => response.writeHead(status).end('{"error":"not_found"}'))
    await expect(callEdge(edge, '/v1/adapters')).rejects.toMatchObject({
      exitCode: 1,
      message: `${edge.url} answered with HTTP status 404, and not as a Polylora edge would; check --edge.`,
    })
    status = 502
    await expect(callEdge(edge, '/v1/adapters')).rejects.toMatchObject({
      exitCode: 3,
      message: `${edge.url} answered with HTTP status 502.`,
    })
  })

  test('an upload that nobody answers is given up, and can be tried again', async () => {
    const edge = await serve((request) => void request.resume())
    await expect(upload(edge, 100)).rejects.toMatchObject({
      exitCode: 3,
      message: `The edge at ${edge.url} cannot be reached (ETIMEDOUT); start it with npm start or give --edge.`,
    })
  })

  test('an upload that nobody reads is given up', async () => {
    const edge = await serve((request) => void request.pause())
    await expect(upload(edge, 500)).rejects.toMatchObject({ exitCode: 3 })
  })
})
