import { createHash } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { importAdapter } from '../../../adapters/import-adapter.ts'
import { openHubAdapter } from '../../../scripts/hub/hub-adapter.ts'
import { polylora } from '../../../scripts/polylora.ts'
import { directoryFiles } from '../../support/directory-files.ts'
import { closeServer, listenOnLoopback } from '../../support/loopback.ts'
import { FORMATS, tinyBase } from '../../support/tiny-base.ts'

const SHA = 'c'.repeat(40)
const repository = directoryFiles(`${FORMATS}/peft-plain`)

describe('an adapter on the Hugging Face hub', () => {
  let server: Server
  let endpoint: string
  let listed: { rfilename: string; size: number; blobId: string }[]
  const requests: { url: string; range: string | undefined; authorization: string | undefined }[] = []
  const folder = mkdtempSync(join(tmpdir(), 'polylora-hub-'))

  beforeAll(async () => {
    server = createServer(async (request, response) => {
      const url = request.url ?? ''
      requests.push({ url, range: request.headers.range, authorization: request.headers.authorization })
      if (url === '/api/models/acme/lora/revision/main?blobs=true') {
        response.end(JSON.stringify({ sha: SHA, siblings: listed }))
        return
      }
      const file = repository.get(url.replace(`/acme/lora/resolve/${SHA}/`, ''))
      if (file === undefined) {
        response.writeHead(404).end()
        return
      }
      const start = Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? '')?.[1] ?? 0)
      const range = { 'content-range': `bytes ${start}-${file.size - 1}/${file.size}` }
      response.writeHead(start > 0 ? 206 : 200, start > 0 ? range : {}).end(await file.read(start, file.size))
    })
    endpoint = await listenOnLoopback(server)
  })
  beforeEach(async () => {
    listed = []
    for (const { name, size, read } of repository.values()) {
      const blob = createHash('sha1')
        .update(`blob ${size}\0`)
        .update(await read(0, size))
      listed.push({ rfilename: name, size, blobId: blob.digest('hex') })
    }
    requests.length = 0
  })
  afterAll(async () => {
    rmSync(folder, { recursive: true, force: true })
    await closeServer(server)
  })

  async function run(...argv: string[]) {
    let [out, err] = ['', '']
    const stdout = { write: (text: string) => (out += text) }
    const stderr = { isTTY: false, write: (text: string) => (err += text) }
    const code = await polylora(argv, { stdout, stderr, env: { HF_ENDPOINT: endpoint, HF_TOKEN: 'secret' } })
    return { code, out, err }
  }

  test('is read by ranges, of one commit, with the token', async () => {
    const source = await importAdapter(await openHubAdapter('hf:acme/lora', { endpoint, token: 'secret' }, 4096), {
      base: tinyBase('gqa'),
    })
    const { a } = await source.modules.get('model.layers.0.self_attn.q_proj')!.load()
    expect(a.length).toBe(4 * 32)
    expect(requests.at(-1)).toMatchObject({ authorization: 'Bearer secret', url: expect.stringContaining(SHA) })
    expect(requests.some(({ range }) => range !== undefined)).toBe(true)
    // 28 tensors, in pieces and not one by one.
    const before = requests.length
    for (const module of source.modules.values()) await module.load()
    expect(requests.length - before).toBeLessThan(2 * source.modules.size)
  })

  test('is inspected without a download', async () => {
    expect(await run('inspect', 'hf:acme/lora', '--json')).toMatchObject({
      code: 0,
      out: expect.stringContaining('"peft"'),
    })
  })

  test('is pulled into a folder, going on where an interrupted pull stopped', async () => {
    const file = repository.get('adapter_model.safetensors')!
    const whole = await file.read(0, file.size)
    const { blobId } = listed.find(({ rfilename }) => rfilename === file.name)!
    writeFileSync(join(folder, `${file.name}.${blobId.slice(0, 12)}.part`), whole.subarray(0, 5000))
    expect(await run('pull', 'hf:acme/lora', '--out', folder)).toMatchObject({ code: 0, err: '' })
    expect(new Uint8Array(readFileSync(join(folder, file.name)))).toEqual(whole)
    expect(requests.map(({ range }) => range)).toContain('bytes=5000-')
    requests.length = 0
    await run('pull', 'hf:acme/lora', '--out', folder)
    expect(requests).toHaveLength(1)
  })

  test('is refused when a file would leave the folder', async () => {
    listed.push({ rfilename: '../../.bashrc', size: 1, blobId: 'd'.repeat(40) })
    const { code, err } = await run('pull', 'hf:acme/lora', '--out', folder)
    expect(code).toBe(1)
    expect(err).toMatch(/no safe path/)
  })

  test('that does not exist is one sentence', async () => {
    const { code, err } = await run('inspect', 'hf:acme/nothing')
    expect(code).toBe(1)
    expect(err).toMatch(/^polylora: .*HTTP 404\): check the name, .*\n$/)
    expect(await run('inspect', 'hf:acme')).toMatchObject({ code: 2 })
  })
})
