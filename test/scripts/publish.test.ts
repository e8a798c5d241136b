import { mkdirSync, writeFileSync } from 'node:fs'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { AdapterError } from '../../adapters/errors.ts'
import { fileSet, memoryFile } from '../../adapters/file-set.ts'
import { publishAdapter } from '../../scripts/publish.ts'
import { closeServer, listenOnLoopback } from '../support/loopback.ts'
import { peftFiles, peftTensors } from '../support/peft-files.ts'
import { BASE_INFO } from '../support/protocol-backend.ts'
import { runPolylora as run } from '../support/run-polylora.ts'
import { temporaryDir } from '../support/temporary-dir.ts'

const PREVIOUS = `sha256:${'1'.repeat(64)}`
const PATH = '/v1/adapters/acme/support'
const data = temporaryDir()
const NO_EFFECT = /has no effect/
const files = peftFiles(peftTensors(BASE_INFO.base, ['model.layers.0.self_attn.q_proj']))

/** An edge with one name, of which a test decides what the models answer, and what others do meanwhile. */
describe('publishing is all or nothing', () => {
  let server: Server
  let url: string
  const seen: string[] = []
  /** The name's versions, each with its report. */
  const versions = new Map<string, unknown>()
  let alias: string | undefined
  let effect: number
  let uploadStatus: number
  let probeStatus: number
  let reportStatus: number
  let uploaded: string
  let onProbe: () => void

  beforeEach(async () => {
    seen.length = 0
    versions.clear()
    alias = undefined
    effect = 1
    uploadStatus = 201
    probeStatus = 200
    reportStatus = 200
    uploaded = ''
    onProbe = () => {}
    server = createServer((request, response) => void answer(request, response))
    url = await listenOnLoopback(server)
  })
  afterEach(() => closeServer(server))

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const call = `${request.method} ${request.url}`
    const json = (status: number, body: unknown) => response.writeHead(status).end(JSON.stringify(body))
    if (call !== 'GET /v1/base') seen.push(call.replace(/sha256:\w+/, '<digest>'))
    const isUpload = call === `PUT ${PATH}?alias=keep`
    if (isUpload && uploadStatus !== 201) {
      json(uploadStatus, { error: { message: 'The delta is too large here.', code: 'delta_too_large' } })
      return
    }
    let body = ''
    for await (const piece of request) body += piece
    if (call === 'GET /v1/base') json(200, BASE_INFO)
    else if (call === `GET ${PATH}`) {
      const digests = [...versions.keys()].map((digest) => ({ digest }))
      if (alias === undefined) json(404, {})
      else json(200, { digest: alias, report: versions.get(alias), versions: digests })
    } else if (isUpload) {
      uploaded = String(request.headers['x-polylora-digest'])
      versions.set(uploaded, null)
      alias ??= uploaded
      json(201, {})
    } else if (call === 'POST /v1/completions') {
      const { model } = JSON.parse(body)
      const adapted = model !== BASE_INFO.base.name
      if (adapted) expect(model).toBe(`acme/support@${uploaded}`)
      onProbe()
      if (probeStatus !== 200) return void json(probeStatus, { error: { message: 'No backend is ready.' } })
      response.setHeader('x-polylora-adapter', adapted ? uploaded : 'base')
      json(200, { choices: [{ logprobs: { top_logprobs: [{ x: adapted ? -1 - effect : -1 }] } }] })
    } else if (call === `PUT ${PATH}/versions/${uploaded}/report`) {
      if (reportStatus !== 200) return void json(reportStatus, { error: { message: 'The database is away.' } })
      versions.set(uploaded, JSON.parse(body))
      json(200, {})
    } else if (call === `PUT ${PATH}/alias`) {
      const { digest, from } = JSON.parse(body)
      if (alias !== from) return void json(409, { error: { message: 'It points at another version by now.' } })
      alias = digest
      json(200, {})
    } else {
      expect(call).toBe(`DELETE ${PATH}`)
      versions.clear()
      alias = undefined
      json(200, {})
    }
  }
  /** What another publisher brings to its end. */
  function publishOther(): void {
    versions.set(PREVIOUS, {})
    alias = PREVIOUS
  }
  const publish = () => publishAdapter({ edge: { url, apiKey: 'k' }, files, tenant: 'acme', name: 'support' })

  test('a good adapter is uploaded, probed and given its report', async () => {
    const { report, isNamed } = await publish()
    expect([report.probe?.difference, isNamed]).toEqual([1, true])
    expect(seen).toEqual([
      `GET ${PATH}`,
      `PUT ${PATH}?alias=keep`,
      'POST /v1/completions',
      'POST /v1/completions',
      `PUT ${PATH}/versions/<digest>/report`,
      `GET ${PATH}`,
    ])
    expect(alias).toBe(uploaded)
  })

  test('an adapter without effect leaves no name behind', async () => {
    effect = 0
    await expect(publish()).rejects.toMatchObject({ message: expect.stringMatching(NO_EFFECT), stored: 'nowhere' })
    expect(seen).toContain(`DELETE ${PATH}`)
    expect(alias).toBeUndefined()
  })

  test('a backend that cannot be asked takes no name away, and the next publishing goes on from there', async () => {
    probeStatus = 503
    const unproven = {
      message: expect.stringMatching(/^No backend is ready\. acme\/support is stored and answers already/),
      stored: 'named',
    }
    await expect(publish()).rejects.toMatchObject(unproven)
    expect(alias).toBe(uploaded)
    probeStatus = 200
    seen.length = 0
    await publish()
    expect(seen).not.toContain(`PUT ${PATH}?alias=keep`)
    versions.set(uploaded, null)
    effect = 0
    await expect(publish()).rejects.toThrow(NO_EFFECT)
    expect(seen).toContain(`DELETE ${PATH}`)
  })

  test('a report that cannot be stored leaves the version where it is, and says where', async () => {
    reportStatus = 503
    const unreported = /^The database is away\. acme\/support is stored and answers already/
    await expect(publish()).rejects.toMatchObject({ message: expect.stringMatching(unreported), stored: 'named' })
    versions.clear()
    publishOther()
    const beside = /^The database is away\. The version is stored/
    await expect(publish()).rejects.toMatchObject({ message: expect.stringMatching(beside), stored: 'beside' })
    expect(alias).toBe(PREVIOUS)
  })

  test('a version that was proven once keeps its name when a later proof of it fails', async () => {
    await publish()
    effect = 0
    await expect(publish()).rejects.toMatchObject({ message: expect.stringMatching(NO_EFFECT), stored: 'named' })
    expect(seen).not.toContain(`DELETE ${PATH}`)
  })

  test('a name that is in use moves only after the proof and the report', async () => {
    publishOther()
    expect((await publish()).isNamed).toBe(true)
    expect(seen).toEqual([
      `GET ${PATH}`,
      `PUT ${PATH}?alias=keep`,
      'POST /v1/completions',
      'POST /v1/completions',
      `PUT ${PATH}/versions/<digest>/report`,
      `GET ${PATH}`,
      `PUT ${PATH}/alias`,
    ])
    expect(alias).toBe(uploaded)
  })

  test('an adapter without effect never gets a name that is in use', async () => {
    effect = 0
    publishOther()
    await expect(publish()).rejects.toMatchObject({ message: expect.stringMatching(NO_EFFECT), stored: 'beside' })
    expect(seen.filter((call) => call.endsWith('/alias') || call.startsWith('DELETE'))).toEqual([])
  })

  test('a staged version is proven as well, and the name stays, or points at it where it is new', async () => {
    const stage = () =>
      publishAdapter({ edge: { url, apiKey: 'k' }, files, tenant: 'acme', name: 'support', stage: true })
    expect((await stage()).isNamed).toBe(true)
    versions.clear()
    publishOther()
    const { isNamed, report } = await stage()
    expect([isNamed, report.probe?.difference, alias]).toEqual([false, 1, PREVIOUS])
    effect = 0
    await expect(stage()).rejects.toThrow(NO_EFFECT)
  })

  test('the command line says whether the name points at a staged version, and why one is refused', async () => {
    const folder = join(data, 'adapter')
    mkdirSync(folder)
    for (const file of files.values()) writeFileSync(join(folder, file.name), await file.read(0, file.size))
    const stage = () => run('publish', folder, '--as', 'acme/support', '--stage', '--edge', url, '--api-key', 'k')
    expect((await stage()).out).toContain('published acme/support')
    versions.clear()
    publishOther()
    expect((await stage()).out).toContain('stored    acme/support')
    effect = 0
    expect(await stage()).toMatchObject({ code: 1, err: expect.stringMatching(NO_EFFECT) })
  })

  test('a new name that somebody else has proven and moved meanwhile is neither moved back nor removed', async () => {
    onProbe = publishOther
    const moved = { message: expect.stringContaining('It points at another version by now.'), stored: 'beside' }
    await expect(publish()).rejects.toMatchObject(moved)
    expect(alias).toBe(PREVIOUS)
    versions.clear()
    alias = undefined
    effect = 0
    await expect(publish()).rejects.toThrow(NO_EFFECT)
    expect([alias, versions.has(PREVIOUS)]).toEqual([PREVIOUS, true])
  })

  test('an edge that refuses the upload at once is quoted, not its broken connection', async () => {
    uploadStatus = 413
    await expect(publish()).rejects.toThrow('The delta is too large here.')
    expect(seen.at(-1)).toBe(`PUT ${PATH}?alias=keep`)
  })

  test('nothing is uploaded when the files are refused', async () => {
    const template = memoryFile('chat_template.jinja', new TextEncoder().encode('{% for m in messages %}'))
    const edge = { url, apiKey: 'k' }
    const broken = fileSet([...files.values(), template])
    await expect(publishAdapter({ edge, files: broken, tenant: 'acme', name: 'support' })).rejects.toThrow(AdapterError)
    const mute = fileSet([...files.values(), memoryFile('chat_template.jinja', new TextEncoder().encode('Hello'))])
    await expect(publishAdapter({ edge, files: mute, tenant: 'acme', name: 'support' })).rejects.toThrow(
      /leaves out the user's message/,
    )
    const kept = { ignoreChatTemplate: true }
    await publishAdapter({ edge, files: broken, tenant: 'acme', name: 'support', facts: kept })
    expect(seen.filter((call) => call === `PUT ${PATH}?alias=keep`)).toHaveLength(1)
  })
})
