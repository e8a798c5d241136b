import { cpSync, existsSync, mkdtempSync, readdirSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { createServer, type IncomingMessage, request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { json } from 'node:stream/consumers'
import OpenAI from 'openai'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { EMBEDDED_MODEL } from '../../gpu-backend/config.ts'
import { BackendInfo } from '../../gpu-backend/protocol.ts'
import { ARCHITECTURES } from '../support/architecture-goldens.ts'
import { digestOf, makeDelta, waitFor } from '../support/edge-harness.ts'
import { freePort } from '../support/free-port.ts'
import { closeServer, listenOnLoopback } from '../support/loopback.ts'
import { SAMPLE_NAMES } from '../support/samples.ts'
import { failToStart, killParentOfProduct, type StartedProduct, startProduct } from '../support/started-product.ts'
import { writeTinyModel } from '../support/tiny-model.ts'

const QUESTION = [{ role: 'user' as const, content: 'What is your return policy?' }]

const folder = mkdtempSync(join(tmpdir(), 'polylora-start-'))
const state = join(folder, 'state')
const models = ['polylora-base', ...SAMPLE_NAMES.map((tenant) => `${tenant}/support`)]

afterAll(() => rmSync(folder, { recursive: true, force: true }))

describe('npm start', () => {
  let product: StartedProduct
  let published: string

  const client = (tenant: string) =>
    new OpenAI({ apiKey: `dev-${tenant}`, baseURL: `${product.url}/v1`, maxRetries: 0 })

  beforeAll(async () => {
    product = await startProduct(state)
  })
  afterAll(async () => {
    await product?.stop()
  })

  test('shows the answer of the base and of every sample adapter, and how many shared a batch', () => {
    for (const model of models) expect(product.output()).toContain(`  ${model} `)
    expect(product.output()).toMatch(/\d different adapters shared one batch/)
  })

  test('lets browsers run the base model and the sample adapters', async () => {
    for (const tenant of SAMPLE_NAMES) {
      const headers = { authorization: `Bearer dev-${tenant}` }
      const model = await fetch(`${product.url}/v1/browser/model`, { headers })
      expect(await model.json()).toMatchObject({ base: { name: 'polylora-base' }, weights: 'f32' })
      const adapter = await fetch(`${product.url}/v1/adapters/${tenant}/support`, { headers })
      expect(await adapter.json()).toMatchObject({ may_leave: true })
    }
    expect(product.output().indexOf('for browsers')).toBeGreaterThan(product.output().indexOf('Question to all'))
  })

  test('prints a curl line whose request is answered', async () => {
    const line = product
      .output()
      .split('\n')
      .find((candidate) => candidate.startsWith('curl '))!
    const [, url, , authorization, , body] = /^curl (\S+) -H '(Authorization): ([^']*)' -H '([^']*)' -d '(.*)'$/.exec(
      line,
    )!
    const headers = { authorization: authorization!, 'content-type': 'application/json' }
    const response = await fetch(url!, { method: 'POST', headers, body: body! })
    expect(response.status).toBe(200)
    expect(await response.json()).toMatchObject({ object: 'chat.completion', choices: [{ index: 0 }] })
  })

  test('answers the official client, whole and streamed, with the same text', async () => {
    for (const [tenant, model] of [
      ['demo', 'polylora-base'],
      ...SAMPLE_NAMES.map((name) => [name, `${name}/support`]),
    ]) {
      const request = { model: model!, messages: QUESTION, temperature: 0, max_tokens: 24 }
      const whole = await client(tenant!).chat.completions.create(request)
      const stream = await client(tenant!).chat.completions.create({ ...request, stream: true })
      const chunks = await Array.fromAsync(stream)
      const streamed = chunks.map((chunk) => chunk.choices[0]?.delta.content ?? '').join('')
      expect(streamed).toBe(whole.choices[0]?.message.content)
      expect(whole.usage?.completion_tokens).toBeGreaterThan(0)
    }
  })

  test('lists what a key may use', async () => {
    for (const tenant of SAMPLE_NAMES) {
      const ids = (await Array.fromAsync(client(tenant).models.list())).map(({ id }) => id)
      expect(ids).toEqual(['polylora-base', `${tenant}/support`])
    }
  })

  test('refuses an unknown model with 404 and a wrong key with 401', async () => {
    const ask = (apiKey: string, model: string) =>
      new OpenAI({ apiKey, baseURL: `${product.url}/v1`, maxRetries: 0 }).chat.completions.create({
        model,
        messages: QUESTION,
      })
    await expect(ask('dev-demo', 'demo/unknown')).rejects.toMatchObject({ status: 404, code: 'model_not_found' })
    await expect(ask('wrong', 'polylora-base')).rejects.toMatchObject({ status: 401, code: 'invalid_api_key' })
  })

  test('takes nothing from pages of elsewhere, nor by a name that their own DNS points at this machine', async () => {
    const page = await fetch(`${product.url}/v1/models`, {
      headers: { authorization: 'Bearer dev-demo', origin: 'https://evil.example' },
    })
    const byName = await new Promise<IncomingMessage>((resolve, reject) => {
      const headers = { authorization: 'Bearer dev-admin', host: 'evil.example' }
      request(`${product.url}/admin/v1/tenants`, { headers }, resolve).on('error', reject).end()
    })
    expect([page.status, byName.statusCode]).toEqual([403, 403])
    expect(await page.json()).toMatchObject({ error: { code: 'not_local' } })
    expect(await json(byName)).toMatchObject({ error: { code: 'not_local' } })
  })

  test('stops generating for a client that leaves, and counts what it was sent', async () => {
    const headers = { authorization: 'Bearer dev-demo' }
    const abort = new AbortController()
    const body = { model: 'polylora-base', messages: QUESTION, stream: true, max_tokens: 900, min_tokens: 900 }
    const response = await fetch(`${product.url}/v1/chat/completions`, {
      method: 'POST',
      headers,
      body: JSON.stringify(body),
      signal: abort.signal,
    })
    expect(response.status).toBe(200)
    const requestId = response.headers.get('x-request-id')
    await response.body!.getReader().read()
    abort.abort()
    const record = await waitFor(async () => {
      const usage = await fetch(`${product.url}/v1/usage?group_by=request`, { headers })
      const { data } = (await usage.json()) as { data: { request_id: string }[] }
      return data.find((candidate) => candidate.request_id === requestId)
    })
    expect(record).toMatchObject({ outcome: 'cut' })
  })

  test('serves an adapter that is published to it', async () => {
    const headers = { authorization: 'Bearer dev-demo' }
    const { base } = BackendInfo.parse(await (await fetch(`${product.url}/v1/base`, { headers })).json())
    const bytes = makeDelta(3, base)
    published = digestOf(bytes)
    const response = await fetch(`${product.url}/v1/adapters/demo/mine`, {
      method: 'PUT',
      headers: { ...headers, 'x-polylora-digest': published },
      body: bytes,
    })
    expect(response.status).toBe(201)
    const answer = await client('demo').chat.completions.create({
      model: 'demo/mine',
      messages: QUESTION,
      max_tokens: 4,
    })
    expect(answer).toMatchObject({ polylora: { adapter: published } })
  })

  test('stops cleanly on Ctrl-C, and finds on the next start what was published before', async () => {
    expect(await product.stop()).toBe(0)
    for (const url of [product.url, product.backendUrl]) await expect(fetch(url)).rejects.toThrow()
    product = await startProduct(state, ['--no-demo'])
    const answer = await client('demo').chat.completions.create({
      model: 'demo/mine',
      messages: QUESTION,
      max_tokens: 4,
    })
    expect(answer).toMatchObject({ polylora: { adapter: published } })
  })
})

test('npm start serves another base model by itself: the sample adapters are not for it', async () => {
  const model = writeTinyModel(join(folder, 'tiny'))
  const product = await startProduct(join(folder, 'another'), ['--model', model])
  try {
    expect(product.output()).toMatch(/sample adapters .* none for tiny\n/)
    expect(product.output()).toMatch(/^ {2}tiny {2}/m)
    const client = new OpenAI({ apiKey: 'dev-demo', baseURL: `${product.url}/v1` })
    expect((await Array.fromAsync(client.models.list())).map(({ id }) => id)).toEqual(['tiny'])
  } finally {
    await product.stop()
  }
})

test('npm start publishes the sample adapters for the embedded model by whatever name that is served', async () => {
  const product = await startProduct(join(folder, 'renamed'), ['--no-demo', '--', '--served-model-name', 'small'])
  try {
    for (const name of SAMPLE_NAMES) {
      const client = new OpenAI({ apiKey: `dev-${name}`, baseURL: `${product.url}/v1` })
      const ids = (await Array.fromAsync(client.models.list())).map(({ id }) => id)
      expect(ids).toEqual(['small', `${name}/support`])
    }
  } finally {
    await product.stop()
  }
})

test('npm start serves on where nobody reads what it says, and stops cleanly', async () => {
  const product = await startProduct(join(folder, 'unread'), ['--no-demo'])
  product.stopReading()
  expect(await product.stop()).toBe(0)
  for (const url of [product.url, product.backendUrl]) await expect(fetch(url)).rejects.toThrow()
})

test('npm start leaves nothing behind when npm is killed', () => killParentOfProduct(join(folder, 'orphan')))

describe('a start that cannot succeed ends with one sentence', () => {
  const sentence = async (args: readonly string[]) => {
    const { code, stderr } = await failToStart(args)
    expect(code).not.toBe(0)
    expect(stderr.trim().split('\n')).toHaveLength(1)
    return stderr
  }
  const freePorts = async () => ['--port', String(await freePort()), '--backend-port', String(await freePort())]

  test.each(['--port', '--backend-port'])('where the port of %s is taken', async (option) => {
    const server = createServer()
    const { port } = new URL(await listenOnLoopback(server))
    const args = [...(await freePorts()), '--state', join(folder, 'unused'), option, port]
    expect(await sentence(args)).toContain(
      `Port ${port} is in use: stop what listens there or choose another with ${option}.`,
    )
    await closeServer(server)
    expect(existsSync(join(folder, 'unused'))).toBe(false)
  })

  test('where the state folder is a file', async () => {
    const file = join(folder, 'file')
    writeFileSync(file, '')
    expect(await sentence([...(await freePorts()), '--state', file])).toMatch(/cannot be created .* --state DIR/)
  })

  test('where a database of the state folder is damaged', async () => {
    const damaged = join(folder, 'damaged')
    cpSync(state, damaged, { recursive: true })
    const database = readdirSync(damaged, { recursive: true, encoding: 'utf8' }).find((name) =>
      /d1.*\.sqlite$/.test(name),
    )!
    writeFileSync(join(damaged, database), 'x'.repeat(5000))
    expect(await sentence([...(await freePorts()), '--state', damaged])).toMatch(/damaged .* delete .* and start again/)
  })

  test('where the base model is missing, or its weights are truncated', async () => {
    const args = [...(await freePorts()), '--state', join(folder, 'other')]
    expect(await sentence([...args, '--model', join(folder, 'nowhere')])).toMatch(
      /GPU backend could not start: .*(?:no model at|is missing)/,
    )
    const truncated = join(folder, 'truncated')
    cpSync(EMBEDDED_MODEL, truncated, { recursive: true })
    truncateSync(join(truncated, 'model.safetensors'), 100_000)
    expect(await sentence([...args, '--model', truncated])).toMatch(/GPU backend could not start: .*truncated/)
  })

  test('where the base model has no chat template for the question', async () => {
    const model = join(ARCHITECTURES, 'bf16.gguf')
    const args = [...(await freePorts()), '--state', join(folder, 'templateless'), '--model', model]
    expect(await sentence(args)).toMatch(/no chat template.*--no-demo/)
  })
})
