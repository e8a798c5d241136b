import { execFile } from 'node:child_process'
import { createServer, type Server } from 'node:http'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { closeServer, listenOnLoopback } from '../support/loopback.ts'

/** A proxy that notes where it is asked to connect to, and refuses. */
let proxy: Server
let proxyUrl: string
const asked: string[] = []

beforeAll(async () => {
  proxy = createServer()
  proxy.on('connect', (request, socket) => {
    asked.push(request.url ?? '')
    socket.end('HTTP/1.1 502 Bad Gateway\r\n\r\n')
  })
  proxyUrl = await listenOnLoopback(proxy)
})
afterAll(() => closeServer(proxy))
beforeEach(() => {
  asked.length = 0
})

function run(args: readonly string[], env: Record<string, string> = {}) {
  const options = { env: { PATH: process.env.PATH, HTTP_PROXY: proxyUrl, HTTPS_PROXY: proxyUrl, ...env } }
  return new Promise<{ code: unknown; err: string }>((resolve) => {
    execFile(process.execPath, args, options, (error, _out, err) =>
      resolve({ code: error === null ? 0 : error.code, err }),
    )
  })
}

const list = (edge: string) => ['scripts/polylora.ts', 'list', '--edge', edge, '--api-key', 'k']

describe('behind a proxy', () => {
  test('the edge is reached through it', async () => {
    expect(await run(list('http://edge.invalid'))).toMatchObject({ code: 3 })
    expect(asked).toEqual(['edge.invalid:80'])
  })

  test('so is the Hub, for adapters and for base models', async () => {
    await run(['scripts/polylora.ts', 'inspect', 'hf:acme/x'], { HF_ENDPOINT: 'http://hub.invalid' })
    expect(new Set(asked)).toEqual(new Set(['hub.invalid:80']))
    await run(['scripts/model.ts', 'pull', 'acme/x'], { HF_ENDPOINT: 'http://models.invalid' })
    expect(asked).toContain('models.invalid:80')
  })

  test('a server of this machine is asked directly, and what NO_PROXY names', async () => {
    for (const host of ['127.0.0.1', 'localhost', '[::1]'])
      expect(await run(list(`http://${host}:1`))).toMatchObject({ code: 3 })
    expect(await run(list('http://edge.invalid'), { NO_PROXY: 'edge.invalid' })).toMatchObject({ code: 3 })
    expect(asked).toEqual([])
  })

  test('a variable that names no proxy is one sentence', async () => {
    expect(await run(list('http://edge.invalid'), { HTTP_PROXY: 'foo' })).toEqual({
      code: 2,
      err: 'HTTPS_PROXY or HTTP_PROXY names no proxy (foo); give a URL such as http://proxy:3128.\n',
    })
  })
})
