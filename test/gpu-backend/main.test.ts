// The backend as a process: what it says and how it ends.
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process'
import { once } from 'node:events'
import { rmSync, statSync, truncateSync } from 'node:fs'
import { createServer } from 'node:http'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, describe, expect, test } from 'vitest'
import { OwnCore } from '../../gpu-backend/engine/onnx/own-core.ts'
import { BackendClient, eventsOf, generation, responseTo, SECRET, textOf } from '../support/backend-client.ts'
import { coresOfThreads } from '../support/cores-of-threads.ts'
import { FAILURE } from '../support/failing-engine.ts'
import { closeServer, listenOnLoopback } from '../support/loopback.ts'
import { expectOneSentence } from '../support/one-sentence.ts'
import { temporaryDir } from '../support/temporary-dir.ts'
import { writeTinyModel } from '../support/tiny-model.ts'

const MAIN = fileURLToPath(new URL('../../gpu-backend/main.ts', import.meta.url))
const FAILING_ENGINE = new URL('../support/failing-engine.ts', import.meta.url).href
const root = temporaryDir()
const model = writeTinyModel(join(root, 'tiny'))
const running = new Set<ChildProcessWithoutNullStreams>()

afterEach(async () => {
  for (const child of running) {
    child.kill('SIGKILL')
    await once(child, 'exit')
  }
})

interface Started {
  readonly child: ChildProcessWithoutNullStreams
  /** Everything written so far. */
  stdout(): string
  stderr(): string
  /** Exit code, once its output is complete. */
  readonly ended: Promise<number | null>
}

function start(
  args: readonly string[],
  env: Record<string, string> = { POLYLORA_BACKEND_SECRET: SECRET },
  node: readonly string[] = [],
): Started {
  const defaults = ['--data-dir', join(root, 'data'), '--port', '0', '--model', model, '--weights', 'f32']
  const given = [...node, MAIN, ...defaults, ...args]
  const child = spawn(process.execPath, given, { env: { PATH: process.env.PATH, ...env } })
  running.add(child)
  let [out, err] = ['', '']
  child.stdout.on('data', (piece: Buffer) => {
    out += piece
  })
  child.stderr.on('data', (piece: Buffer) => {
    err += piece
  })
  const ended = once(child, 'close').then(([code]) => {
    running.delete(child)
    return code as number | null
  })
  return { child, stdout: () => out, stderr: () => err, ended }
}

/** The process's address, once it listens. */
async function listening(started: Started): Promise<BackendClient> {
  const [, url] = await logged(started, /"event":"listening","url":"([^"]+)"/)
  return new BackendClient(url!)
}

/** What matches in the process's log, once something does. */
async function logged({ child, stderr, ended }: Started, pattern: RegExp): Promise<RegExpExecArray> {
  const stopped = ended.then((code) => Promise.reject(new Error(`the backend ended with ${code}: ${stderr()}`)))
  for (;;) {
    const found = pattern.exec(stderr())
    if (found) {
      stopped.catch(() => {})
      return found
    }
    await Promise.race([once(child.stderr, 'data'), stopped])
  }
}

/** What a process that cannot start says beside its log. */
async function failure(args: readonly string[], env?: Record<string, string>): Promise<string> {
  const started = start(args, env)
  expect(await started.ended).toBe(1)
  const lines = started.stderr().trim().split('\n')
  const said = lines.filter((line) => !line.startsWith('{"time"'))
  expect(said).toHaveLength(1)
  expectOneSentence(said[0]!)
  expect(started.stdout()).toBe('')
  return said[0]!
}

describe('the backend, started', () => {
  test('with --help says what it can do and ends well', async () => {
    const started = start(['--help'], {})
    expect(await started.ended).toBe(0)
    expect(started.stdout()).toContain('--max-batch N')
  })

  test.each<[string, string, () => string[]]>([
    ['a model that is not there', 'nowhere', () => ['--model', join(root, 'nowhere')]],
    ['a model directory that is empty', 'config.json', () => ['--model', root]],
    ['weights that are cut short', 'model.safetensors', () => ['--model', truncated()]],
    ['weights that are missing', 'weights are missing', () => ['--model', withoutWeights()]],
    ['an option that it does not have', '--colour', () => ['--colour', 'red']],
    ['a value that it does not take', '--memory lots', () => ['--memory', 'lots']],
    ['too little memory', '--memory', () => ['--memory', '1KB']],
    ['a context that is too short', '--context 16 is too short', () => ['--context', '16']],
    ['a file in place of its folder', '--data-dir', () => ['--data-dir', join(model, 'config.json')]],
    ['a file above its folder', 'ENOTDIR', () => ['--data-dir', join(model, 'config.json', 'data')]],
    ['a device that is not here', 'cuda', () => ['--device', 'cuda', '--weights', 'f16']],
  ])('with %s, says so in one sentence and ends with 1', async (_, named, args) => {
    expect(await failure(args())).toContain(named)
  })

  test('without the secret says so in one sentence and ends with 1', async () => {
    expect(await failure([], {})).toContain('POLYLORA_BACKEND_SECRET')
  })

  test('on a port in use says so in one sentence and ends with 1', async () => {
    const other = createServer()
    const { host, port } = new URL(await listenOnLoopback(other))
    try {
      const said = await failure(['--port', port])
      expect(said).toContain(host)
      expect(said).toContain('--port')
    } finally {
      await closeServer(other)
    }
  })
})

describe('the backend, loading', () => {
  test('answers as soon as it has one graph, and says once it has all of them', async () => {
    const started = start([])
    const client = await listening(started)
    const ask = async () => textOf(await eventsOf(await client.generate({ sampling: { max_tokens: 40, seed: 1 } })))
    const early = await ask()
    await logged(started, /"event":"loaded","ms":\d+}/)
    expect(await ask()).toBe(early)
    expect(early).not.toBe('')
  })
})

describe.runIf(OwnCore.ofThisThread())('the backend, at work', () => {
  test('has a core for the thread that runs the graph, and the others for all else', async () => {
    const started = start([])
    const client = await listening(started)
    await (await client.generate({ sampling: { max_tokens: 4 } })).text()
    const { pid } = started.child
    const threads = coresOfThreads(pid!)
    const shared = threads.get(String(pid))!
    const own = [...threads.values()].filter((cores) => !cores.some((core) => shared.includes(core)))
    expect(own).toEqual([[expect.any(Number)]])
    expect(shared).toHaveLength(coresOfThreads(process.pid).get(String(process.pid))!.length - 1)
    expect([...threads.values()].filter((cores) => String(cores) === String(shared))).toHaveLength(threads.size - 1)
  })
})

describe('the backend, asked to end', () => {
  test.each(['SIGTERM', 'SIGINT'] as const)('by %s finishes the running answer, and ends well', async (signal) => {
    const started = start([])
    const client = await listening(started)
    const sent = await client.open('POST', '/v1/generate')
    sent.end(JSON.stringify(generation({ sampling: { max_tokens: 480, min_tokens: 480 } })))
    const response = await responseTo(sent)
    started.child.kill(signal)
    let text = ''
    for await (const piece of response) text += piece
    expect(JSON.parse(text.trim().split('\n').at(-1)!)).toMatchObject({
      event: 'done',
      usage: { completion_tokens: 480 },
    })
    expect(await started.ended).toBe(0)
    const events = started
      .stderr()
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line))
    expect(events.map(({ event }) => event)).toEqual(expect.arrayContaining(['listening', 'draining', 'stopped']))
    expect(started.stderr()).not.toContain(SECRET)
    expect(started.stderr()).not.toContain('Hello there')
  })

  test('while nobody asks anything ends at once', async () => {
    const started = start([])
    const client = await listening(started)
    expect((await fetch(`${client.url}/readyz`)).status).toBe(200)
    started.child.kill('SIGTERM')
    expect(await started.ended).toBe(0)
  })
})

test('the backend whose engine is dead says why, once, tells whoever waits, and ends with 1', async () => {
  const started = start([], undefined, ['--import', FAILING_ENGINE])
  const client = await listening(started)
  const running = await client.generate({ sampling: { max_tokens: 480, min_tokens: 480 } })
  started.child.kill('SIGUSR2')
  expect((await eventsOf(running)).at(-1)).toMatchObject({ event: 'error', error: 'unavailable' })
  expect(await started.ended).toBe(1)
  const lines = started
    .stderr()
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))
  expect(lines.filter(({ event }) => event === 'engine_failed')).toMatchObject([{ level: 'error', reason: FAILURE }])
})

function truncated(): string {
  const dir = writeTinyModel(join(root, 'truncated'))
  truncateSync(join(dir, 'model.safetensors'), statSync(join(dir, 'model.safetensors')).size - 100)
  return dir
}

function withoutWeights(): string {
  const dir = writeTinyModel(join(root, 'no-weights'))
  rmSync(join(dir, 'model.safetensors'))
  return dir
}
