import { createHash } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, setGlobalProxyFromEnv } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import { s3Parts } from '../../scripts/s3-parts.ts'
import { type FileUpload, type SendPart, type UploadSettings, uploadDelta } from '../../scripts/upload.ts'
import { type CuttingEdge, startCuttingEdge } from '../support/cutting-edge.ts'
import { closeServer, listenOnLoopback } from '../support/loopback.ts'
import { S3_KEYS, type S3Server, startS3 } from '../support/s3-server.ts'

const PART_BYTES = 1000
const PATH = '/v1/adapters/acme/support'
const bytes = Buffer.from(Array.from({ length: 4500 }, (_, i) => (i * 7) % 251))
const digest = `sha256:${createHash('sha256').update(bytes).digest('hex')}`

let folder: string
let edge: CuttingEdge

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'polylora-upload-'))
  writeFileSync(join(folder, 'delta'), bytes)
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))
beforeEach(async () => {
  edge = await startCuttingEdge(PART_BYTES)
})
afterEach(() => edge.close())

const progress: number[] = []
const delta = (): FileUpload => {
  const onProgress = (sent: number) => progress.push(sent)
  return { file: join(folder, 'delta'), bytes: bytes.length, digest, path: PATH, onProgress }
}
const upload = (settings: UploadSettings = {}, change: Partial<FileUpload> = {}) => {
  progress.length = 0
  return uploadDelta(
    { url: edge.url, apiKey: 'k' },
    { ...delta(), ...change },
    { oneRequestBytes: 2000, retryDelayMs: () => 0, ...settings },
  )
}

describe('a delta on its way to the edge', () => {
  test('goes in one request where it is small', async () => {
    await upload({ oneRequestBytes: bytes.length })
    expect(edge.calls).toEqual([`PUT ${PATH}?alias=keep`])
    expect(edge.published).toEqual(bytes)
    expect(progress.at(-1)).toBe(bytes.length)
  })

  test('goes in parts where it is large, each with its digest', async () => {
    await upload()
    expect(edge.parts.size).toBe(5)
    expect(edge.calls.at(-1)).toBe(`POST ${PATH}/uploads/<digest>?alias=keep`)
    expect(edge.published).toEqual(bytes)
    expect(progress.at(-1)).toBe(bytes.length)
    expect(progress).toEqual(progress.toSorted((x, y) => x - y))
  })

  test('goes on by itself when the connection breaks now and then', async () => {
    edge.cutBefore = (call) => call % 2 === 1
    await upload()
    expect(edge.published).toEqual(bytes)
  })

  test('that broke off for good goes on at the part it had reached when it is started again', async () => {
    edge.cutBefore = (_call, part) => part === 3
    await expect(upload()).rejects.toThrow(/2000 of 4500 bytes have arrived; run the command again/)
    expect([...edge.parts.keys()]).toEqual([1, 2])
    edge.cutBefore = () => false
    edge.calls.length = 0
    await upload()
    expect(edge.published).toEqual(bytes)
    expect(edge.calls.filter((call) => call.startsWith('PUT'))).toEqual(
      [3, 4, 5].map((part) => `PUT ${PATH}/uploads/<digest>/${part}`),
    )
    expect(progress[0]).toBeGreaterThan(2000)
  })

  test('starts anew where the parts that are there are of another size', async () => {
    edge.parts.set(1, Buffer.alloc(17))
    await upload()
    expect(edge.published).toEqual(bytes)
  })

  test('is not tried again when the edge refuses it', async () => {
    edge.refuse = true
    await expect(upload()).rejects.toThrow('You may not.')
    expect(edge.calls.filter((call) => call.startsWith('PUT'))).toHaveLength(1)
  })
})

describe('parts put straight into the bucket', () => {
  let storage: S3Server

  beforeEach(async () => {
    storage = await startS3()
    vi.stubEnv('AWS_ENDPOINT_URL_S3', storage.url)
    vi.stubEnv('AWS_ACCESS_KEY_ID', S3_KEYS.S3_ACCESS_KEY_ID)
    vi.stubEnv('AWS_SECRET_ACCESS_KEY', S3_KEYS.S3_SECRET_ACCESS_KEY)
    vi.stubEnv('AWS_REGION', 'eu-central-1')
  })
  afterEach(async () => {
    vi.unstubAllEnvs()
    await storage.close()
  })

  test('lie where the edge looks for them, large ones sent in several pieces', async () => {
    const large = Buffer.alloc(20e6, 'polylora')
    const file = join(folder, 'large')
    writeFileSync(file, large)
    const one = `sha256:${createHash('sha256').update(large).digest('hex')}`
    edge.partBytes = 16 * 1024 ** 2
    await upload({ sendPart: s3Parts('s3://bucket', 'acme') }, { file, bytes: large.length, digest: one })
    const prefix = `/bucket/uploads/acme/${one.slice(7)}/`
    expect([...storage.objects.keys()]).toEqual([`${prefix}00001`, `${prefix}00002`])
    expect(Buffer.concat([...storage.objects.values()]).equals(large)).toBe(true)
    expect(storage.multipartUploads).toBe(1)
    expect(progress.at(-1)).toBe(large.length)
  })

  test('are announced to the edge before each is written, and again after', async () => {
    const put = s3Parts('s3://bucket', 'acme')
    const seen: { announced: number[]; written: number }[] = []
    const look = () => seen.push({ announced: [...edge.announced], written: storage.objects.size })
    const sendPart: SendPart = async (delta, part, onSent) => {
      look()
      await put(delta, part, onSent)
      look()
    }
    edge.partBytes = 3000
    await upload({ sendPart })
    expect(seen).toEqual([
      { announced: [1], written: 0 },
      { announced: [1], written: 1 },
      { announced: [1, 1, 2], written: 1 },
      { announced: [1, 1, 2], written: 2 },
    ])
    expect(edge.announced).toEqual([1, 1, 2, 2])
    expect(edge.calls.at(-1)).toBe(`POST ${PATH}/uploads/<digest>?alias=keep`)
  })

  test('a bucket that takes nothing, and one that is none, are one sentence each', async () => {
    storage.full = true
    await expect(upload({ sendPart: s3Parts('s3://bucket', 'acme') })).rejects.toThrow(
      /^s3:\/\/bucket cannot be reached/,
    )
    vi.stubEnv('AWS_SECRET_ACCESS_KEY', 'wrong')
    await expect(upload({ sendPart: s3Parts('s3://bucket', 'acme') })).rejects.toThrow(
      /^s3:\/\/bucket refused the upload \(SignatureDoesNotMatch\)/,
    )
    expect(() => s3Parts('bucket', 'acme')).toThrow(/s3:\/\/bucket/)
  })

  test('reach a bucket behind a proxy', async () => {
    vi.stubEnv('AWS_ENDPOINT_URL_S3', 'http://s3.invalid')
    const asked: string[] = []
    const proxy = createServer((request, response) => {
      asked.push(`${request.method} ${new URL(request.url!).origin}`)
      request.resume()
      response.writeHead(200, { etag: '"1"' }).end()
    })
    const restore = setGlobalProxyFromEnv({ http_proxy: await listenOnLoopback(proxy) })
    try {
      await s3Parts('s3://bucket', 'acme')(delta(), { part: 1, start: 0, end: 100 }, () => undefined)
      expect(asked).toEqual(['PUT http://s3.invalid'])
    } finally {
      restore()
      await closeServer(proxy)
    }
  })

  test('are given up where the bucket stands still', async () => {
    const silent = createServer((request) => void request.resume())
    vi.stubEnv('AWS_ENDPOINT_URL_S3', await listenOnLoopback(silent))
    try {
      const put = s3Parts('s3://bucket', 'acme', 100)
      await expect(put(delta(), { part: 1, start: 0, end: 100 }, () => undefined)).rejects.toMatchObject({
        exitCode: 3,
      })
    } finally {
      await closeServer(silent)
    }
  })
})
