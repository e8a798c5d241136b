import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { openAdapterPath } from '../../scripts/directory-files.ts'
import { publishAdapter } from '../../scripts/publish.ts'
import { ADMIN_KEY, type EdgeHarness, startEdge } from '../support/edge-harness.ts'
import { freePort } from '../support/free-port.ts'
import { closeServer, listenOnLoopback } from '../support/loopback.ts'
import { peftFiles, peftTensors } from '../support/peft-files.ts'
import { BASE_INFO, ProtocolBackend } from '../support/protocol-backend.ts'
import { runPolylora as run } from '../support/run-polylora.ts'
import { temporaryDir } from '../support/temporary-dir.ts'
import { FORMATS } from '../support/tiny-base.ts'

const PATHS = ['model.layers.0.self_attn.q_proj', 'model.layers.1.mlp.down_proj']

const data = temporaryDir()

describe('polylora', () => {
  let backend: ProtocolBackend
  let edge: EdgeHarness
  let folder: string

  beforeAll(async () => {
    backend = await new ProtocolBackend().listen()
    edge = await startEdge(backend.url)
    await edge.addTenant('acme', 'key-acme')
    folder = mkdtempSync(join(tmpdir(), 'polylora-test-'))
    for (const file of peftFiles(peftTensors(BASE_INFO.base, PATHS)).values()) {
      writeFileSync(join(folder, file.name), await file.read(0, file.size))
    }
  })
  afterAll(async () => {
    rmSync(folder, { recursive: true, force: true })
    await edge.close()
    await backend.close()
  })
  const atEdge = () => ['--edge', edge.url, '--api-key', 'key-acme']

  test('publish stores the canonical delta and its report, and list, show and chat find it', async () => {
    const published = await run('publish', folder, '--as', 'acme/support', ...atEdge(), '--json')
    expect(published).toMatchObject({ code: 0, err: '' })
    const { digest, report } = JSON.parse(published.out)
    expect(report).toMatchObject({ sourceFormat: 'peft', rank: 2, scales: [2], modules: ['down_proj', 'q_proj'] })

    const listed = JSON.parse((await run('list', ...atEdge(), '--json')).out)
    expect(listed).toMatchObject([{ id: 'acme/support', digest, bytes: report.bytes }])
    const shown = JSON.parse((await run('show', 'acme/support', ...atEdge(), '--json')).out)
    expect(shown.report).toEqual(report)
    expect((await run('show', 'acme/support', ...atEdge())).out).toContain(`* ${digest}`)
    const answer = JSON.parse((await run('chat', 'acme/support', '--message', 'Hi', ...atEdge(), '--json')).out)
    expect(answer.answer).not.toBe('')
    expect((await run('remove', 'acme/support', ...atEdge())).out).toBe('removed acme/support\n')
    expect((await run('list', ...atEdge())).out).toContain('No adapters yet')
  })

  test('chat answers every line of piped input, and ends well at its end', async () => {
    await edge.publish('key-acme', 'acme/talk')
    const command = ['scripts/polylora.ts', 'chat', 'acme/talk', '--json', ...atEdge()]
    const child = spawn(process.execPath, command, { stdio: ['pipe', 'pipe', 'inherit'] })
    child.stdin.end('Hi\n\nWhen are you open?\nBye')
    const [out, [code]] = await Promise.all([text(child.stdout), once(child, 'exit')])
    expect(code).toBe(0)
    expect(
      out
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line).model),
    ).toEqual(Array(3).fill('acme/talk'))
    await run('remove', 'acme/talk', ...atEdge())
  })

  test('alias and rollback move a name between its versions', async () => {
    const publish = async (...options: string[]) =>
      JSON.parse((await run('publish', folder, '--as', 'acme/moving', '--json', ...options, ...atEdge())).out).digest
    const [first, second] = [await publish(), await publish('--dtype', 'f16')]
    expect(second).not.toBe(first)
    expect((await run('rollback', 'acme/moving', ...atEdge())).out).toBe(`acme/moving points at ${first}\n`)
    expect((await run('alias', 'acme/moving', second, ...atEdge())).out).toBe(`acme/moving points at ${second}\n`)
    expect((await run('show', 'acme/moving', ...atEdge())).out).toContain(`* ${second}`)
    await run('remove', 'acme/moving', ...atEdge())
  })

  test('a staged version takes a share of the requests as a canary, until it is ended', async () => {
    const publish = async (...options: string[]) =>
      JSON.parse((await run('publish', folder, '--as', 'acme/split', '--json', ...options, ...atEdge())).out).digest
    const first = await publish()
    const second = await publish('--dtype', 'f16', '--stage')
    expect((await run('show', 'acme/split', ...atEdge())).out).toContain(`* ${first}`)
    const started = await run('canary', 'acme/split', second, '--weight', '0.25', ...atEdge())
    expect(started.out).toBe(`acme/split points at ${first}; 0.25 of its requests go to ${second}\n`)
    const share = (out: string) => out.split('\n').find((line) => line.includes('of the requests'))
    expect(share((await run('show', 'acme/split', ...atEdge())).out)).toMatch(RegExp(`^  ${second} .* 0.25 of`))
    const ended = await run('canary', 'acme/split', ...atEdge())
    expect(ended.out).toBe(`acme/split points at ${first}; all its requests go there\n`)
    expect(share((await run('show', 'acme/split', ...atEdge())).out)).toBeUndefined()
    expect(await run('canary', 'acme/split', second, ...atEdge())).toMatchObject({ code: 2 })
    await run('remove', 'acme/split', ...atEdge())
  })

  test('publishing a version again moves the name without a second upload', async () => {
    const phases: string[] = []
    const publishAgain = async (dtype: 'f16' | 'f32') => {
      phases.length = 0
      const files = await openAdapterPath(folder)
      const onProgress = (phase: string) => phases.push(phase)
      return publishAdapter({
        edge: { url: edge.url, apiKey: 'key-acme' },
        files,
        tenant: 'acme',
        name: 'again',
        dtype,
        onProgress,
      })
    }
    const { digest } = await publishAgain('f32')
    expect(phases).toContain('uploading')
    await publishAgain('f16')
    expect((await publishAgain('f32')).digest).toBe(digest)
    expect(phases).not.toContain('uploading')
    expect((await run('show', 'acme/again', ...atEdge())).out).toContain(`* ${digest}`)
    await run('remove', 'acme/again', ...atEdge())
  })

  test('browser decides what may be downloaded, and publishes no other base than the backends serve', async () => {
    const atAdmin = ['--edge', edge.url, '--admin-key', ADMIN_KEY]
    await edge.publish('key-acme', 'acme/mobile')
    const mayLeave = async () =>
      ((await (await edge.call('key-acme', '/v1/adapters/acme/mobile')).json()) as { may_leave: boolean }).may_leave
    expect((await run('browser', 'allow', 'acme/mobile', ...atAdmin)).out).toContain('may be downloaded')
    expect(await mayLeave()).toBe(true)
    expect((await run('browser', 'deny', 'acme/mobile', ...atAdmin)).out).toContain('may not be downloaded')
    expect(await mayLeave()).toBe(false)
    expect(await run('browser', 'allow', 'acme/nothing', ...atAdmin)).toMatchObject({ code: 1 })
    expect(await run('browser', 'withdraw', ...atAdmin)).toMatchObject({ code: 1 })
    const refused = await run('browser', 'publish', '--data-dir', data, ...atAdmin)
    expect(refused).toMatchObject({ code: 1, err: expect.stringContaining('The backends serve tiny-base') })
    expect((await edge.deltas.list({ prefix: 'browser/' })).objects).toEqual([])
    await run('remove', 'acme/mobile', ...atEdge())
    for (const wrong of [
      [],
      ['publish', 'acme/mobile'],
      ['allow'],
      ['withdraw', 'x', 'y'],
      ['publish', '--weights', 'int2'],
      ['publish', '--context', '512.5'],
    ]) {
      expect(await run('browser', ...wrong, ...atAdmin)).toMatchObject({ code: 2 })
    }
  })

  test('keys are made, listed, replaced and revoked with the admin key alone', async () => {
    const atAdmin = ['--edge', edge.url, '--admin-key', ADMIN_KEY]
    const made = await run('keys', 'create', 'acme', '--scopes', 'inference,adapters', ...atAdmin)
    expect(made).toMatchObject({ code: 0, out: expect.stringMatching(/^pl-\S+\n$/) })
    expect(await run('list', '--edge', edge.url, '--api-key', made.out.trim())).toMatchObject({ code: 0 })
    const listed = JSON.parse((await run('keys', 'list', 'acme', ...atAdmin, '--json')).out)
    const { id } = listed.find(({ prefix }: { prefix: string }) => made.out.startsWith(prefix))
    const rotated = await run('keys', 'rotate', 'acme', id, ...atAdmin)
    expect(rotated.out).toMatch(/^pl-\S+\n$/)
    const again = JSON.parse((await run('keys', 'list', 'acme', ...atAdmin, '--json')).out)
    const fresh = again.find(({ prefix }: { prefix: string }) => rotated.out.startsWith(prefix))
    expect(await run('keys', 'rotate', 'acme', fresh.id, '--overlap-seconds', '0', ...atAdmin)).toMatchObject({
      code: 0,
    })
    for (const overlap of ['-1', '1.5']) {
      expect(await run('keys', 'rotate', 'acme', fresh.id, '--overlap-seconds', overlap, ...atAdmin)).toMatchObject({
        code: 2,
      })
    }
    expect((await run('keys', 'revoke', 'acme', id, ...atAdmin)).out).toBe(`revoked ${id}\n`)
    expect((await run('keys', 'list', 'acme', ...atAdmin)).out).toContain('revoked')
    expect(await run('keys', 'list', 'acme', '--edge', edge.url, '--admin-key', 'wrong')).toMatchObject({ code: 1 })
    expect(await run('keys', 'revoke', 'acme', ...atAdmin)).toMatchObject({ code: 2 })
  })

  test('usage is a table, or JSON', async () => {
    const byAdapter = await run('usage', '--group-by', 'adapter', ...atEdge())
    expect(byAdapter).toMatchObject({ code: 0, err: '' })
    expect((await run('usage', '--from', 'yesterday', ...atEdge())).code).toBe(1)
    expect((await run('usage', '--from', '2026-02-30', ...atEdge())).code).toBe(1)
    expect((await run('usage', '--from', '1999-01-01', '--to', '1999-01-02', ...atEdge())).out).toBe(
      'Nothing was used in this time.\n',
    )
    expect((await run('usage', '--to', '1999-01-02', '--json', ...atEdge())).out).toBe('[]\n')
  })

  test('publish refuses a wrong adapter with its sentence and exit code 1, and uploads nothing', async () => {
    const other = await run('publish', join(FORMATS, 'peft-plain'), '--as', 'acme/other', ...atEdge())
    expect(other.code).toBe(1)
    expect(other.err).toMatch(/^polylora: Tensor .* the adapter is for another base model\.\n$/)
    expect((await run('list', ...atEdge(), '--json')).out).toBe('[]\n')
  })

  test('a wrong key, another tenant and a server that is not there are one sentence each', async () => {
    const wrongKey = await run('publish', folder, '--as', 'acme/x', '--edge', edge.url, '--api-key', 'wrong')
    expect(wrongKey).toMatchObject({ code: 1 })
    expect(wrongKey.err).toMatch(/^polylora: .*key.*\n$/i)
    const shortened = await run('list', '--edge', edge.url, '--api-key', 'pl-4f2…')
    expect(shortened).toMatchObject({ code: 2, err: expect.stringContaining('copy the whole key') })
    const stranger = await run('publish', folder, '--as', 'rival/x', ...atEdge())
    expect(stranger).toMatchObject({ code: 1 })
    const port = await freePort()
    const nobody = await run('list', '--edge', `http://127.0.0.1:${port}`, '--api-key', 'k')
    expect(nobody).toMatchObject({ code: 3 })
    expect(nobody.err).toMatch(/cannot be reached \(ECONNREFUSED\)/)
  })
})

describe('polylora without a server', () => {
  test('inspect reports a file', async () => {
    const { code, out } = await run('inspect', join(FORMATS, 'mistral-finetune'), '--json')
    expect(code).toBe(0)
    expect(JSON.parse(out)).toMatchObject({ sourceFormat: 'mistral-finetune', rank: 4, scales: [2] })
  })

  test.each(['mlx', 'mlx-embeddings', 'mlx-tied-embeddings', 'gguf-f32', 'peft-embeddings'])(
    'inspect needs no base for %s',
    async (format) => {
      const { code, out, err } = await run('inspect', join(FORMATS, format))
      expect({ code, err }).toEqual({ code: 0, err: '' })
      expect(out).toContain('\nbase      the base that its tensors show\n')
    },
  )

  test('chat says of a server that is no edge that it is none, and of an answer that broke off that it did', async () => {
    let [type, body] = ['text/html', '<p>Welcome</p>']
    const server = createServer((_request, response) => response.writeHead(200, { 'content-type': type }).end(body))
    const url = await listenOnLoopback(server)
    const chat = () => run('chat', 'acme/talk', '--message', 'Hi', '--edge', url, '--api-key', 'k')
    try {
      expect(await chat()).toMatchObject({ code: 3, err: expect.stringContaining('check --edge') })
      type = 'text/event-stream'
      for (body of ['data: hello\n\n', 'data: {"choices":"none"}\n\n']) {
        expect(await chat()).toMatchObject({ code: 3, err: expect.stringContaining('check --edge') })
      }
      body = 'data: {"choices":[{"delta":{"content":"We"}}]}\n\n'
      expect(await chat()).toMatchObject({ code: 3, err: expect.stringContaining('broke off') })
    } finally {
      await closeServer(server)
    }
  })

  test('chat goes on, for who sits before it, after an answer whose connection broke off', async () => {
    const asked: unknown[] = []
    const server = createServer(async (request, response) => {
      asked.push(JSON.parse(await text(request)).messages)
      response.writeHead(200, { 'content-type': 'text/event-stream' })
      response.write('data: {"choices":[{"delta":{"content":"We"}}]}\n\n', () => response.destroy())
    })
    const url = await listenOnLoopback(server)
    try {
      // Input that is piped would end the conversation: here it is taken for a terminal.
      const terminal = ['--import', 'data:text/javascript,process.stdin.isTTY=true']
      const command = ['scripts/polylora.ts', 'chat', 'acme/talk', '--edge', url, '--api-key', 'k']
      const child = spawn(process.execPath, [...terminal, ...command], { stdio: ['pipe', 'ignore', 'pipe'] })
      child.stdin.end('Hi\nAre you open?\n')
      const [err, [code]] = await Promise.all([text(child.stderr), once(child, 'exit')])
      expect(code).toBe(0)
      expect(err.match(/polylora: The answer broke off before its end; ask again\./g)).toHaveLength(2)
      expect(asked).toEqual(['Hi', 'Are you open?'].map((content) => [{ role: 'user', content }]))
    } finally {
      await closeServer(server)
    }
  })

  test('inspect names what is missing', async () => {
    const { code, out } = await run('inspect', join(FORMATS, 'loralib-linear/adapter.pt'), '--json')
    expect({ code, alpha: JSON.parse(out).scales }).toEqual({ code: 0, alpha: [8] })
    const alone = mkdtempSync(join(tmpdir(), 'polylora-test-'))
    try {
      writeFileSync(join(alone, 'adapter.pt'), readFileSync(join(FORMATS, 'loralib-linear/adapter.pt')))
      const missing = await run('inspect', alone, '--json')
      expect(missing.code).toBe(1)
      expect(JSON.parse(missing.out).error).toMatchObject({
        code: 'missing',
        message: expect.stringContaining('--alpha'),
      })
      expect((await run('inspect', alone, '--alpha', '32')).code).toBe(0)
    } finally {
      rmSync(alone, { recursive: true, force: true })
    }
  })

  test('help exists for every command, and a wrong command line has exit code 2', async () => {
    const overview = await run('--help')
    expect(overview.code).toBe(0)
    for (const [, name] of overview.out.matchAll(/^ {2}(\w+) /gm)) {
      const help = await run(name!, '--help')
      expect(help).toMatchObject({ code: 0, err: '' })
      expect(help.out).toContain('--json')
      expect(await run(name!, '-h')).toEqual(help)
    }
    expect(await run('fly')).toMatchObject({ code: 2, out: '' })
    expect(await run('publish', '--as')).toMatchObject({ code: 2 })
    expect(await run('publish', 'x', '--as', 'nobody')).toMatchObject({ code: 2 })
    expect(await run('inspect', '/does/not/exist')).toMatchObject({ code: 1 })
    expect(await run('inspect', '/does/not/exist', '--dtype', 'f8')).toMatchObject({ code: 2 })
    expect(await run('convert', '--base', '/does/not/exist', '--out', join(data, 'delta'))).toMatchObject({ code: 2 })
  })
})
