import { Validator } from '@seriousme/openapi-schema-validator'
import { expect, test } from 'vitest'
import { Scope } from '../../functions/auth/scope.ts'
import { serverSentData } from '../../functions/client/server-sent-data.ts'
import { OPERATIONS } from '../../functions/openapi/operations.ts'
import { expectContent } from '../support/documented.ts'
import { ADMIN_KEY, waitFor } from '../support/edge-harness.ts'
import { edgeOnBackends } from '../support/edge-on-backends.ts'

const { edge } = await edgeOnBackends()
await edge.addTenant('acme', 'key-acme')

interface Document {
  openapi: string
  paths: Record<
    string,
    Record<
      string,
      {
        requestBody?: { content: Record<string, { schema: Record<string, unknown> }> }
        parameters: { name: string; schema: { pattern?: string; default?: string } }[]
      }
    >
  >
}

test('the OpenAPI document describes requests by the schemas that parse them', async () => {
  const document = (await (await fetch(`${edge.url}/openapi.json`)).json()) as Document
  expect(document.openapi).toBe('3.1.0')
  const chat = document.paths['/v1/chat/completions']?.post?.requestBody?.content['application/json']?.schema
  expect(chat).toMatchObject({ type: 'object', required: ['model', 'messages'] })
  expect(JSON.stringify(chat)).toContain('"temperature"')
})

test('the OpenAPI document says what a name and a digest in a path must be', async () => {
  const document = (await (await fetch(`${edge.url}/openapi.json`)).json()) as Document
  const path = '/v1/adapters/{tenant}/{name}/uploads/{digest}/{part}'
  const patternOf = (wanted: string) => {
    const pattern = document.paths[path]?.put?.parameters.find(({ name }) => name === wanted)?.schema.pattern
    return new RegExp(pattern ?? '')
  }
  for (const part of ['tenant', 'name']) {
    expect('acme-2').toMatch(patternOf(part))
    expect('Ä/').not.toMatch(patternOf(part))
  }
  expect(`sha256:${'0'.repeat(64)}`).toMatch(patternOf('digest'))
  expect('0').not.toMatch(patternOf('digest'))
})

test.each([
  ['/v1/usage', 'key-acme'],
  ['/admin/v1/usage', ADMIN_KEY],
])('the OpenAPI document says by what %s groups where a question leaves it open', async (path, key) => {
  const body = JSON.stringify({ model: 'tiny-base', prompt: 'hi', max_tokens: 1 })
  await (await edge.call('key-acme', '/v1/completions', { method: 'POST', body })).text()
  const [row] = await waitFor(async () => {
    const { data } = (await (await edge.call(key, path)).json()) as { data: object[] }
    return data.length > 0 && data
  })
  const document = (await (await fetch(`${edge.url}/openapi.json`)).json()) as Document
  const dimensions = document.paths[path]?.get?.parameters.find(({ name }) => name === 'group_by')?.schema.default
  expect(Object.keys(row!).slice(0, 2).join()).toBe(dimensions)
})

test('the OpenAPI document is one by the specification', async () => {
  const document = (await (await fetch(`${edge.url}/openapi.json`)).json()) as Record<string, unknown>
  const validator = new Validator()
  expect(await validator.validate(document)).toEqual({ valid: true })
  expect(validator.version).toBe('3.1')
})

test('the OpenAPI document describes answers by the schemas that they are made by', async () => {
  const document = JSON.stringify(await (await fetch(`${edge.url}/openapi.json`)).json())
  for (const field of ['system_fingerprint', 'top_logprobs', 'previous_digest', 'backend_caches', 'ttft_ms_p99']) {
    expect(document).toContain(`"${field}"`)
  }
  const bodies = OPERATIONS.flatMap(({ method, path, answers }) =>
    Object.entries(answers).flatMap(([status, answer]) =>
      ['200', '201'].includes(status) && typeof answer === 'string' ? [`${method} ${path}`] : [],
    ),
  )
  expect(bodies).toEqual([])
})

test.each([
  ['/v1/chat/completions', { messages: [{ role: 'user', content: 'hi' }], logprobs: true, top_logprobs: 1 }],
  ['/v1/completions', { prompt: 'hi', max_tokens: 5, logprobs: 1 }],
])('every chunk of a stream of %s is as the document says', async (path, body) => {
  const init = { model: 'tiny-base', stream: true, stream_options: { include_usage: true }, n: 2, ...body }
  const response = await edge.call('key-acme', path, { method: 'POST', body: JSON.stringify(init) })
  const chunks = await Array.fromAsync(serverSentData(response.body!))
  expect(chunks.length).toBeGreaterThan(10)
  for (const chunk of chunks) expectContent('POST', path, 200, 'text/event-stream', chunk)
  const whole = JSON.stringify({ ...init, stream: false, stream_options: undefined })
  // Checked by the harness.
  expect((await edge.call('key-acme', path, { method: 'POST', body: whole })).status).toBe(200)
})

const urlOf = (path: string) => path.replaceAll('{tenant}', 'acme').replaceAll(/\{\w+\}/g, 'x')

test('every operation in the document is a route', async () => {
  for (const { method, path, scope } of OPERATIONS) {
    const init = { method: method.toUpperCase(), ...(method === 'get' ? {} : { body: '{' }) }
    const response = await edge.call(scope === 'admin' ? ADMIN_KEY : 'key-acme', urlOf(path), init)
    expect(await response.text(), `${method} ${path}`).not.toMatch(/unknown_url|method_not_allowed/)
  }
})

test('every operation needs the scope that the document says, and no other', async () => {
  const keyWithout = (scope: Scope) => `key-without-${scope}`
  for (const scope of Scope.options) {
    const others = Scope.options.filter((other) => other !== scope)
    await edge.addTenant('acme', keyWithout(scope), others.join(' '))
  }
  for (const { method, path, scope } of OPERATIONS) {
    if (scope === 'admin') continue
    for (const missing of Scope.options) {
      const response = await edge.call(keyWithout(missing), urlOf(path), { method: method.toUpperCase() })
      const isRefused = response.status === 403 && (await response.text()).includes('"insufficient_scope"')
      expect(isRefused, `${method} ${path} without ${missing}: ${response.status}`).toBe(missing === scope)
    }
  }
})

test('every other method on a path of the document is refused with those that it takes', async () => {
  await edge.addTenant('wrong-methods', 'key-methods')
  for (const [path, operations] of Map.groupBy(OPERATIONS, (operation) => operation.path)) {
    const known = operations.map((operation) => operation.method.toUpperCase())
    const taken = known.includes('GET') ? [...known, 'HEAD'] : known
    const key = operations[0]?.scope === 'admin' ? ADMIN_KEY : 'key-methods'
    for (const method of ['GET', 'POST', 'PUT', 'PATCH', 'DELETE'].filter((name) => !taken.includes(name))) {
      const response = await edge.call(key, urlOf(path), { method })
      expect(response.status, `${method} ${path}`).toBe(405)
      expect(response.headers.get('allow')?.split(', ').sort()).toEqual(taken.toSorted())
      expect(response.headers.get('x-request-id')).toMatch(/^req_/)
      const error = { type: 'invalid_request_error', code: 'method_not_allowed', param: null }
      expect(await response.json()).toMatchObject({ error })
    }
  }
  expect((await edge.call('wrong', '/v1/chat/completions')).status).toBe(401)
})

test('the reference page names every operation and runs no script', async () => {
  const response = await fetch(`${edge.url}/docs`)
  expect(response.headers.get('content-type')).toContain('text/html')
  const page = await response.text()
  for (const { path } of OPERATIONS) expect(page).toContain(path)
  expect(page).not.toContain('<script')
})
