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

/** An edge of which a test decides what the models answer, and whether a version is there already. */
describe('publishing is all or nothing', () => {
  let server: Server
  let url: string
  const seen: string[] = []
  let previous: string | undefined
  /** Of the version before. */
  let report: object | null
  let effect: number
  let uploadStatus: number
  let probeStatus: number
  let uploaded: string

  beforeEach(async () => {
    seen.length = 0
    previous = undefined
    report = {}
    effect = 1
    uploadStatus = 201
    probeStatus = 200
    uploaded = ''
    server = createServer((request, response) => void answer(request, response))
    url = await listenOnLoopback(server)
  })
  afterEach(() => closeServer(server))

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const call = `${request.method} ${request.url}`
    const json = (status: number, body: unknown) => response.writeHead(status).end(JSON.stringify(body))
    if (call !== 'GET /v1/base') seen.push(call.replace(/sha256:\w+/, '<digest>'))
    const isUpload = call === `PUT ${PATH}` || call === `PUT ${PATH}?alias=keep`
    if (isUpload && uploadStatus !== 201) {
      json(uploadStatus, { error: { message: 'The delta is too large here.', code: 'delta_too_large' } })
      return
    }
    let body = ''
    for await (const piece of request) body += piece
    if (call === 'GET /v1/base') json(200, BASE_INFO)
    else if (call === `GET ${PATH}`)
      json(previous ? 200 : 404, previous ? { digest: previous, report, versions: [{ digest: previous }] } : {})
    else if (isUpload) {
      uploaded = String(request.headers['x-polylora-digest'])
      json(201, {})
    } else if (call === 'POST /v1/completions') {
      const { model } = JSON.parse(body)
      const adapted = model !== BASE_INFO.base.name
      if (adapted) expect(model).toBe(`acme/support@${uploaded}`)
      if (probeStatus !== 200) return void json(probeStatus, { error: { message: 'No backend is ready.' } })
      response.setHeader('x-polylora-adapter', adapted ? uploaded : 'base')
      json(200, { choices: [{ logprobs: { top_logprobs: [{ x: adapted ? -1 - effect : -1 }] } }] })
    } else {
      if (call === `PUT ${PATH}/alias`) expect(JSON.parse(body)).toEqual({ digest: uploaded, from: previous })
      json(200, {})
    }
  }
  const publish = () => publishAdapter({ edge: { url, apiKey: 'k' }, files, tenant: 'acme', name: 'support' })

  test('a good adapter is uploaded, probed and given its report', async () => {
    const { report } = await publish()
    expect(report.probe?.difference).toBe(1)
    expect(seen).toEqual([
      `GET ${PATH}`,
      `PUT ${PATH}`,
      'POST /v1/completions',
      'POST /v1/completions',
      `PUT ${PATH}/versions/<digest>/report`,
    ])
  })

  test('an adapter without effect leaves no name behind', async () => {
    effect = 0
    await expect(publish()).rejects.toThrow(/has no effect/)
    expect(seen.at(-1)).toBe(`DELETE ${PATH}`)
  })

  test('a backend that cannot be asked takes no name away, and the next publishing goes on from there', async () => {
    probeStatus = 503
    await expect(publish()).rejects.toThrow('No backend is ready.')
    expect(seen.at(-1)).toBe('POST /v1/completions')
    probeStatus = 200
    previous = uploaded
    report = null
    seen.length = 0
    await publish()
    expect(seen).not.toContain(`PUT ${PATH}`)
    effect = 0
    await expect(publish()).rejects.toThrow(/has no effect/)
    expect(seen.at(-1)).toBe(`DELETE ${PATH}`)
  })

  test('a version that was proven once keeps its name when a later proof of it fails', async () => {
    await publish()
    previous = uploaded
    effect = 0
    await expect(publish()).rejects.toThrow(/has no effect/)
    expect(seen).not.toContain(`DELETE ${PATH}`)
  })

  test('a name that is in use moves only after the proof and the report', async () => {
    previous = PREVIOUS
    await publish()
    expect(seen).toEqual([
      `GET ${PATH}`,
      `PUT ${PATH}?alias=keep`,
      'POST /v1/completions',
      'POST /v1/completions',
      `PUT ${PATH}/versions/<digest>/report`,
      `PUT ${PATH}/alias`,
    ])
  })

  test('an adapter without effect never gets a name that is in use', async () => {
    effect = 0
    previous = PREVIOUS
    await expect(publish()).rejects.toThrow(/has no effect/)
    expect(seen.filter((call) => call.endsWith('/alias') || call.startsWith('DELETE'))).toEqual([])
  })

  test('a staged version is proven as well, and the name stays', async () => {
    previous = PREVIOUS
    const stage = () =>
      publishAdapter({ edge: { url, apiKey: 'k' }, files, tenant: 'acme', name: 'support', stage: true })
    expect((await stage()).report.probe?.difference).toBe(1)
    expect(seen.at(-1)).toBe(`PUT ${PATH}/versions/<digest>/report`)
    effect = 0
    await expect(stage()).rejects.toThrow(/has no effect/)
  })

  test('an edge that refuses the upload at once is quoted, not its broken connection', async () => {
    uploadStatus = 413
    await expect(publish()).rejects.toThrow('The delta is too large here.')
    expect(seen.at(-1)).toBe(`PUT ${PATH}`)
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
    expect(seen.filter((call) => call === `PUT ${PATH}`)).toHaveLength(1)
  })
})
