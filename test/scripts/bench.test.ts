import { execFile, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import { temporaryDir } from '../support/temporary-dir.ts'

const data = temporaryDir()

/** Runs a script from the repository's root. */
function run(script: string, args: readonly string[], env: Record<string, string> = {}) {
  return new Promise<{ code: unknown; out: string; err: string }>((resolve) => {
    const options = { env: { ...process.env, ...env } }
    execFile(process.execPath, [script, ...args], options, (error, out, err) =>
      resolve({ code: error === null ? 0 : error.code, out, err }),
    )
  })
}

describe('a benchmark', () => {
  test.for([
    [
      'scripts/bench.ts',
      ['--only', 'foo'],
      '--only: there is no "foo"; there is decode, loop, deltas, sampled, prefill, cold, disturbed, zipf.',
    ],
    ['scripts/bench.ts', ['--weights', 'int7'], '--weights: there is no "int7"; there is f32, f16, int8, int4.'],
    [
      'scripts/bench.ts',
      ['--modes', 'foo'],
      '--modes: there is no "foo"; there is bare base, one shared, all different.',
    ],
    ['scripts/bench.ts', ['--streams', '1,x'], '--streams: "x" is not a whole number from 1 on.'],
    ['scripts/bench.ts', ['--rounds', '0'], '--rounds: "0" is not a whole number from 1 on.'],
    ['scripts/bench.ts', ['--tokens', '1'], '--tokens: "1" is not a whole number from 2 on.'],
    [
      'scripts/bench.ts',
      ['--peers', '/nowhere'],
      '--peers /nowhere: there is no /nowhere/bin/python; run sh scripts/bench/peers/setup.sh /nowhere first.',
    ],
    [
      'scripts/bench.ts',
      ['--json', '/nowhere/x.json'],
      '--json /nowhere/x.json: there is no folder /nowhere; make it first.',
    ],
    ['scripts/bench/steps.ts', ['--device', 'foo'], '--device: there is no "foo"; there is cpu, webgpu, cuda.'],
    [
      'scripts/bench/steps.ts',
      ['--past', '2000'],
      '--past and --steps lead to 2065 tokens a row; 1024 is the most, 5 steps to warm up among them.',
    ],
    [
      'scripts/bench/engines.ts',
      ['--engines', 'foo'],
      '--engines: there is no "foo"; there is onnx:cpu, onnx:webgpu, onnx:cuda, vllm:cpu, vllm:cuda.',
    ],
    ['scripts/bench/drafts.ts', ['--rounds', '1'], '--rounds: "1" is not a whole number from 2 on.'],
    ['scripts/bench/waits.ts', ['--prompts', 'foo'], '--prompts: "foo" is not a whole number from 1 on.'],
    ['scripts/bench/edge-overhead.ts', ['--threads', 'x'], '--threads: "x" is not a whole number from 1 on.'],
    ['scripts/bench/response-format.ts', ['foo'], "Unexpected argument 'foo'; see --help."],
  ] as const)('%s %j is refused in one sentence before anything is begun', async ([script, args, sentence]) => {
    expect(await run(script, args)).toEqual({ code: 2, out: '', err: `${sentence}\n` })
  })

  test.for(['scripts/bench.ts', 'steps', 'drafts', 'engines', 'waits', 'edge-overhead', 'response-format'])(
    '%s has --help',
    async (name) => {
      const script = name.endsWith('.ts') ? name : `scripts/bench/${name}.ts`
      const { code, out, err } = await run(script, ['--help'])
      expect({ code, err }).toEqual({ code: 0, err: '' })
      expect(out).toMatch(name.endsWith('.ts') ? /^npm run bench -- / : `npx node ${script}`)
    },
  )

  test('a --json file that holds something else is named before the hours that it was meant for', async () => {
    const file = join(data, 'empty.json')
    writeFileSync(file, '')
    const { code, err } = await run('scripts/bench.ts', ['--json', file])
    expect({ code, err }).toEqual({
      code: 2,
      err: `--json ${file}: what is there is not of this benchmark; give another file, or remove it.\n`,
    })
  })

  test('that is interrupted leaves neither its folder nor the backend that it has started', async () => {
    const spool = mkdtempSync(join(data, 'spool-'))
    const started = () =>
      execFileSync('ps', ['-A', '-o', 'args='], { encoding: 'utf8' })
        .split('\n')
        .filter((command) => command.includes(spool))
    const env = { ...process.env, TMPDIR: spool }
    const child = spawn(process.execPath, ['scripts/bench/waits.ts'], { stdio: 'ignore', env })
    const ended = once(child, 'exit')
    // The model's folder is the last thing that it has begun to fill.
    while (!readdirSync(spool, { recursive: true }).some((path) => String(path).endsWith('models'))) await nextTurn()
    const backends = started()
    child.kill('SIGTERM')
    expect(backends).toHaveLength(1)
    expect(await ended).toEqual([null, 'SIGTERM'])
    while (started().length > 0) await nextTurn()
    // ONNX Runtime has a log there of its own.
    expect(readdirSync(spool).filter((name) => name.startsWith('.polylora-'))).toEqual([])
  })

  test('a model that is not there is one sentence', async () => {
    const { code, err } = await run('scripts/bench.ts', ['--only', 'decode'], { POLYLORA_BENCH_MODEL: '/nowhere' })
    expect({ code, err }).toEqual({ code: 1, err: expect.stringMatching(/^[^\n]*\/nowhere[^\n]*\n$/) })
  })
})
