import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { join } from 'node:path'
import { buffer } from 'node:stream/consumers'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { modelFiles } from '../../gpu-backend/browser/manifest.ts'
import { buildBrowserFiles } from '../../gpu-backend/engine/onnx/browser-files.ts'
import { publishBrowserModel } from '../../scripts/publish-browser-model.ts'
import { digestOf } from '../support/edge-harness.ts'
import { closeServer, listenOnLoopback } from '../support/loopback.ts'
import { temporaryDir } from '../support/temporary-dir.ts'
import { writeTinyModel } from '../support/tiny-model.ts'

const folder = temporaryDir()
const options = {
  modelPath: writeTinyModel(join(folder, 'tiny')),
  weights: 'f32',
  contextTokens: undefined,
  cacheDir: join(folder, 'cache'),
} as const
const { manifest } = await buildBrowserFiles(options)
const files = modelFiles(manifest)

/** An edge's routes for the operator, with a connection and a store that fail when a test wants it. */
const stored = new Map<string, number>()
/** Of files that were sent, in order. */
let puts: string[]
/** What befalls the n-th file that is sent, counted from 1: an answer with a status, or a connection that ends. */
let fate: (put: number) => number | 'cut'
let published: boolean

const server = createServer((request, response) => void answer(request, response))
let url: string

async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const json = (status: number, value: unknown) => response.writeHead(status).end(JSON.stringify(value))
  const digest = /^\/admin\/v1\/browser\/files\/(.+)$/.exec(request.url ?? '')?.[1]
  const body = await buffer(request)
  if (digest === undefined) {
    published ||= request.method === 'PUT'
    json(200, request.method === 'PUT' ? manifest : { base: manifest.base, model: published ? manifest : null })
  } else if (request.method === 'GET') {
    const bytes = stored.get(digest)
    if (bytes === undefined) json(404, { error: { message: 'It is not stored.' } })
    else json(200, { digest, bytes })
  } else {
    const befalls = fate(puts.push(digest))
    if (befalls === 'cut') response.destroy()
    else if (befalls !== 201) json(befalls, { error: { message: 'Not now.' } })
    else {
      expect(digestOf(body)).toBe(digest)
      stored.set(digest, body.byteLength)
      json(201, { digest, bytes: body.byteLength })
    }
  }
}

beforeEach(async () => {
  url = await listenOnLoopback(server)
  stored.clear()
  puts = []
  published = false
  fate = () => 201
})
afterEach(() => closeServer(server))

const publish = (onProgress?: (done: number, total: number) => void) =>
  publishBrowserModel({ url, apiKey: 'admin' }, options, { ...(onProgress && { onProgress }), retryDelayMs: () => 0 })

describe('publishing the base model for browsers', () => {
  test('sends every file once, and then only what the edge lacks, whatever its manifest says', async () => {
    const told: [number, number][] = []
    const { bytes, uploadedBytes } = await publish((...progress) => told.push(progress))
    expect(puts).toEqual(files.map(({ digest }) => digest))
    expect(uploadedBytes).toBe(bytes)
    expect([told[0], told.at(-1)]).toEqual([
      [0, bytes],
      [bytes, bytes],
    ])

    expect(await publish()).toMatchObject({ bytes, uploadedBytes: 0 })
    expect(puts).toHaveLength(files.length)
    const [lost, cut] = files
    stored.delete(lost!.digest)
    stored.set(cut!.digest, cut!.bytes - 1)
    expect(await publish()).toMatchObject({ bytes, uploadedBytes: lost!.bytes + cut!.bytes })
    expect(puts.slice(files.length)).toEqual([lost!.digest, cut!.digest])
  })

  test('sends a file again whose connection was cut, or that a failing edge did not take', async () => {
    fate = (put) => (put === 2 ? 'cut' : put === 3 ? 503 : 201)
    await publish()
    const [first, second, ...rest] = files.map(({ digest }) => digest)
    expect(puts).toEqual([first, second, second, second, ...rest])
    expect(published).toBe(true)
  })

  test('gives up in the end with one sentence, and goes on from there when it is run again', async () => {
    fate = (put) => (put === 1 ? 201 : 503)
    const all = files.reduce((sum, { bytes }) => sum + bytes, 0)
    await expect(publish()).rejects.toMatchObject({
      message: `Not now. ${files[0]!.bytes} of ${all} bytes have arrived; run it again to go on from there.`,
      exitCode: 3,
    })
    expect([puts.length, published]).toEqual([6, false])
    fate = () => 201
    puts = []
    await publish()
    expect(puts).toEqual(files.slice(1).map(({ digest }) => digest))
    expect(published).toBe(true)
  })

  test('does not send again what is refused', async () => {
    fate = () => 422
    await expect(publish()).rejects.toMatchObject({ message: 'Not now.', exitCode: 1 })
    expect(puts).toHaveLength(1)
  })
})
