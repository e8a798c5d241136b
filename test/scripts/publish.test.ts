import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { AdapterError } from '../../adapters/errors.ts'
import { fileSet, memoryFile } from '../../adapters/file-set.ts'
import { publishAdapter } from '../../scripts/publish.ts'
import { closeServer, listenOnLoopback } from '../support/loopback.ts'
import { peftFiles, peftTensors } from '../support/peft-files.ts'
import { BASE_INFO } from '../support/protocol-backend.ts'

const PREVIOUS = `sha256:${'1'.repeat(64)}`
const PATH = '/v1/adapters/acme/support'
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
  let uploaded: string
  let onProbe: () => void

  beforeEach(async () => {
    seen.length = 0
    versions.clear()
    alias = undefined
    effect = 1
    uploadStatus = 201
    probeStatus = 200
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
    const { report } = await publish()
    expect(report.probe?.difference).toBe(1)
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
    await expect(publish()).rejects.toThrow(/has no effect/)
    expect(seen.at(-1)).toBe(`DELETE ${PATH}`)
  })

  test('a backend that cannot be asked takes no name away, and the next publishing goes on from there', async () => {
    probeStatus = 503
    const unproven = {
      message: expect.stringMatching(/^No backend is ready\. acme\/support is stored and answers already/),
    }
    await expect(publish()).rejects.toMatchObject(unproven)
    expect(alias).toBe(uploaded)
    probeStatus = 200
    seen.length = 0
    await publish()
    expect(seen).not.toContain(`PUT ${PATH}?alias=keep`)
    versions.set(uploaded, null)
    effect = 0
    await expect(publish()).rejects.toThrow(/has no effect/)
    expect(seen.at(-1)).toBe(`DELETE ${PATH}`)
  })

  test('a version that was proven once keeps its name when a later proof of it fails', async () => {
    await publish()
    effect = 0
    await expect(publish()).rejects.toThrow(/has no effect/)
    expect(seen).not.toContain(`DELETE ${PATH}`)
  })

  test('a name that is in use moves only after the proof and the report', async () => {
    publishOther()
    await publish()
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
    await expect(publish()).rejects.toThrow(/has no effect/)
    expect(seen.filter((call) => call.endsWith('/alias') || call.startsWith('DELETE'))).toEqual([])
  })

  test('a staged version is proven as well, and the name stays', async () => {
    publishOther()
    const stage = () =>
      publishAdapter({ edge: { url, apiKey: 'k' }, files, tenant: 'acme', name: 'support', stage: true })
    expect((await stage()).report.probe?.difference).toBe(1)
    expect(seen.at(-1)).toBe(`PUT ${PATH}/versions/<digest>/report`)
    effect = 0
    await expect(stage()).rejects.toThrow(/has no effect/)
  })

  test('a new name that somebody else has proven and moved meanwhile is neither moved back nor removed', async () => {
    onProbe = publishOther
    await expect(publish()).rejects.toThrow('It points at another version by now.')
    expect(alias).toBe(PREVIOUS)
    versions.clear()
    alias = undefined
    effect = 0
    await expect(publish()).rejects.toThrow(/has no effect/)
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
