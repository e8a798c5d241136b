// `npm run model -- pull` against a server on loopback that speaks the Hub's API, and against models on the disk.
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { tokenizerFiles } from '../../gpu-backend/model/hugging-face-dir.ts'
import { listRevision } from '../../scripts/hub/hub.ts'
import { model } from '../../scripts/model.ts'
import { ARCHITECTURES } from '../support/architecture-goldens.ts'
import { COMMIT, type Fate, HubServer } from '../support/hub-server.ts'
import { expectOneSentence } from '../support/one-sentence.ts'
import { temporaryDir } from '../support/temporary-dir.ts'
import { writeTinyModel } from '../support/tiny-model.ts'

const temporary = temporaryDir()
const source = writeTinyModel(join(temporary, 'source'))
const FILES = Object.fromEntries(readdirSync(source).map((name) => [name, readFileSync(join(source, name))]))
const WEIGHTS = FILES['model.safetensors']!
const ID = 'acme/tiny-1.0'
/** The fates of what is fetched before the weights. */
const SMALL_FILES = Array.from({ length: Object.keys(FILES).length - 1 }, (): Fate => 'whole')

let hub: HubServer
let root: string
let runs = 0

beforeEach(async () => {
  hub = await new HubServer().listen()
  hub.repositories[ID] = { files: FILES, lfs: ['model.safetensors'] }
  runs += 1
  root = join(temporary, `root-${runs}`)
  mkdirSync(root)
})
afterEach(() => hub.close())

interface Run {
  code: number
  out: string
  err: string
}

/** Runs one command line against the server. */
async function run(argv: readonly string[], env: Record<string, string> = {}, freeBytes = 1e12): Promise<Run> {
  let [out, err] = ['', '']
  const terminal = {
    stdout: { write: (text: string) => (out += text) },
    stderr: { isTTY: false, write: (text: string) => (err += text) },
    env: { HF_ENDPOINT: hub.url, HF_TOKEN_PATH: join(root, 'no-token'), ...env },
  }
  const code = await model(argv, terminal, { root, freeBytes: async () => freeBytes, retryDelayMs: () => 0 })
  return { code, out, err }
}

const folder = () => join(root, '.polylora', 'models', 'acme--tiny-1.0')
const requests = (file: string) => hub.seen.filter((line) => line.includes(`/${file}`))

/** The run failed with one sentence that matches. */
function expectRefusal({ code, err }: Run, pattern: RegExp, exitCode = 1): void {
  expect(err).toMatch(pattern)
  expectOneSentence(err)
  expect(code).toBe(exitCode)
}

describe('pulling from the Hub', () => {
  test('brings the files of a model, verified, and says what it is and how to serve it', async () => {
    const result = await run(['pull', ID])
    expect(result).toMatchObject({ code: 0, err: '' })
    expect(readdirSync(folder()).sort()).toEqual(Object.keys(FILES).sort())
    for (const [name, bytes] of Object.entries(FILES)) expect(readFileSync(join(folder(), name))).toEqual(bytes)
    expect(result.out).toMatch(/^llama, [\d.]+ M parameters, 512 tokens of context$/m)
    expect(result.out).toMatch(/^fingerprint sha256:[0-9a-f]{64}$/m)
    expect(result.out).toContain(`--model ${folder()}`)
  })

  test('brings the template for tools, and keeps it where it is read', async () => {
    const tool = 'additional_chat_templates/tool_use.jinja'
    const files = { ...FILES, [tool]: Buffer.from('{{ tools }}'), 'other/tool_use.jinja': WEIGHTS }
    hub.repositories[ID] = { files, lfs: [] }
    const result = await run(['pull', ID])
    expect(result).toMatchObject({ code: 0, err: '' })
    expect(result.out).toContain(`  ${tool}  `)
    expect(readdirSync(folder()).sort()).toEqual([...Object.keys(FILES), 'additional_chat_templates'].sort())
    expect(tokenizerFiles(folder(), []).toolTemplate).toBe('{{ tools }}')
  })

  test('asks for every file at the listed commit, and fetches nothing a second time', async () => {
    await run(['pull', ID])
    expect(requests('config.json')[0]).toBe(`/${ID}/resolve/${COMMIT}/config.json`)
    const before = hub.seen.length
    const again = await run(['pull', ID])
    expect(again.code).toBe(0)
    expect(hub.seen.slice(before)).toEqual([`/api/models/${ID}/revision/main`])
    expect(again.out).toContain('model.safetensors')
  })

  test('fetches a file again whose bytes were damaged on the disk', async () => {
    await run(['pull', ID])
    const damaged = Buffer.from(WEIGHTS)
    damaged[damaged.length - 1]! ^= 1
    writeFileSync(join(folder(), 'model.safetensors'), damaged)
    expect((await run(['pull', ID])).code).toBe(0)
    expect(readFileSync(join(folder(), 'model.safetensors'))).toEqual(WEIGHTS)
  })

  test('goes on where a connection was cut, as often as it brings something', async () => {
    hub.fates.push(...SMALL_FILES, ...Array.from({ length: 7 }, () => ({ cutAfterBytes: 20_000 })))
    expect(await run(['pull', ID])).toMatchObject({ code: 0, err: '' })
    expect(readFileSync(join(folder(), 'model.safetensors'))).toEqual(WEIGHTS)
    const offsets = requests('model.safetensors').map((line) => Number(/ bytes=(\d+)-$/.exec(line)?.[1] ?? 0))
    expect(offsets[0]).toBe(0)
    expect(offsets.at(-1)).toBeGreaterThan(0)
    expect(offsets).toEqual([...offsets].sort((a, b) => a - b))
  })

  test('keeps what came when it gives up, and a later pull asks for the rest alone', async () => {
    const down = Array.from({ length: 5 }, () => ({ status: 503 }))
    hub.fates.push(...SMALL_FILES, { cutAfterBytes: 30_000 }, ...down)
    expectRefusal(await run(['pull', ID]), /answered HTTP 503 for model\.safetensors: pull again later/, 3)
    const [part] = readdirSync(folder()).filter((name) => name.endsWith('.part'))
    const { size } = statSync(join(folder(), part!))
    const before = hub.seen.length
    expect((await run(['pull', ID])).code).toBe(0)
    expect(hub.seen.slice(before).filter((line) => line.includes('/resolve/'))).toEqual([
      expect.stringMatching(new RegExp(`/model\\.safetensors bytes=${size}-$`)),
    ])
    expect(readFileSync(join(folder(), 'model.safetensors'))).toEqual(WEIGHTS)
    expect(readdirSync(folder())).not.toContain(part)
  })

  test('starts again where the server ignores Range', async () => {
    hub.fates.push(...SMALL_FILES, { cutAfterBytes: 30_000 })
    hub.ignoresRange = true
    expect((await run(['pull', ID])).code).toBe(0)
    expect(readFileSync(join(folder(), 'model.safetensors'))).toEqual(WEIGHTS)
  })

  test('does not append to what is left of another version', async () => {
    mkdirSync(folder(), { recursive: true })
    writeFileSync(join(folder(), 'model.safetensors.0123456789ab.part'), 'of another version')
    expect((await run(['pull', ID])).code).toBe(0)
    expect(readdirSync(folder()).sort()).toEqual(Object.keys(FILES).sort())
  })

  test('removes a file whose bytes have another hash, and says so', async () => {
    const wrong = Buffer.from(WEIGHTS)
    wrong[1000]! ^= 1
    hub.corrupted.set('model.safetensors', wrong)
    expectRefusal(await run(['pull', ID]), /model\.safetensors .* other bytes than the Hub states \(sha256/)
    expect(readdirSync(folder()).filter((name) => name.startsWith('model.safetensors'))).toEqual([])
    hub.corrupted.clear()
    hub.corrupted.set('config.json', Buffer.from(FILES['config.json']!.toString().replace('512', '513')))
    rmSync(folder(), { recursive: true })
    expectRefusal(await run(['pull', ID]), /config\.json .* other bytes than the Hub states \(git/)
  })

  test('is not filled up by a server that sends more than it stated', async () => {
    hub.corrupted.set('model.safetensors', Buffer.concat([WEIGHTS, WEIGHTS]))
    const result = await run(['pull', ID])
    expect(result.code).not.toBe(0)
    expectOneSentence(result.err)
  })

  test('names what there is not: the model, the revision, the weights', async () => {
    expectRefusal(await run(['pull', 'acme/nothing']), /no model acme\/nothing .*HTTP 401.*HF_TOKEN/)
    expectRefusal(await run(['pull', 'acme/nothing'], { HF_TOKEN: 'hf_x' }), /no model acme\/nothing .*HTTP 404/)
    expectRefusal(await run(['pull', ID, '--revision', 'v9']), /no such thing as the revision v9/)
    const { 'model.safetensors': _, ...rest } = FILES
    hub.repositories['acme/old'] = { files: { ...rest, 'pytorch_model.bin': WEIGHTS } }
    expectRefusal(await run(['pull', 'acme/old']), /only pickled weights/)
    hub.repositories['acme/gguf'] = { files: { 'q4.gguf': WEIGHTS, 'q8.gguf': WEIGHTS } }
    expectRefusal(await run(['pull', 'acme/gguf']), /give --file with one of q4\.gguf, q8\.gguf/)
    expectRefusal(await run(['pull', 'acme/gguf', '--file', 'q5.gguf']), /has no file q5\.gguf; give --file/)
  })

  test('asks for a token where a model is gated, and gives it to the Hub alone', async () => {
    hub.repositories[ID] = { files: FILES, lfs: ['model.safetensors'], gated: true }
    expectRefusal(await run(['pull', ID]), /is gated: accept its terms at .* and set HF_TOKEN/)
    expectRefusal(await run(['pull', ID], { HF_TOKEN: 'hf_bad' }), /is gated and this token may not read it/)
    expectRefusal(await run(['pull', ID], { HF_TOKEN: 'hf_unknown' }), /does not know this token/)
    expect((await run(['pull', ID], { HF_TOKEN: 'hf_good' })).code).toBe(0)
    expect(hub.storageTokens).toEqual([])
  })

  test('finds the token that hf auth login keeps', async () => {
    hub.repositories[ID] = { files: FILES, gated: true }
    writeFileSync(join(root, 'token'), 'hf_good\n')
    expect((await run(['pull', ID], { HF_TOKEN_PATH: join(root, 'token') })).code).toBe(0)
  })

  test('brings the shards that the index names, and no other copy of the weights', async () => {
    const { 'model.safetensors': _, ...rest } = FILES
    const index = { weight_map: { 'model.norm.weight': 'model-00001-of-00001.safetensors' } }
    hub.repositories['acme/sharded'] = {
      files: {
        ...rest,
        'model.safetensors.index.json': Buffer.from(JSON.stringify(index)),
        'model-00001-of-00001.safetensors': WEIGHTS,
        'consolidated.safetensors': WEIGHTS,
      },
      lfs: ['model-00001-of-00001.safetensors', 'consolidated.safetensors'],
    }
    const to = join(root, 'elsewhere')
    expect(await run(['pull', 'acme/sharded', '--to', to])).toMatchObject({ code: 0, err: '' })
    expect(readdirSync(to).filter((name) => name.endsWith('.safetensors'))).toEqual([
      'model-00001-of-00001.safetensors',
    ])
  })

  test('brings one GGUF file of many, and opens it', async () => {
    const gguf = readFileSync(join(ARCHITECTURES, 'q4_0.gguf'))
    hub.repositories['acme/gguf'] = { files: { 'a/q4_0.gguf': gguf, 'a/q8_0.gguf': WEIGHTS }, lfs: ['a/q4_0.gguf'] }
    const result = await run(['pull', 'acme/gguf', '--file', 'a/q4_0.gguf'])
    expect(result).toMatchObject({ code: 0, err: '' })
    expect(result.out).toMatch(
      /^llama, .*\nfingerprint .*\nno chat template.*\nServe it: .*acme--gguf\/q4_0\.gguf --no-demo\n$/m,
    )
    expect(readdirSync(join(root, '.polylora', 'models', 'acme--gguf'))).toEqual(['q4_0.gguf'])
  })

  // Every write to this device fails as on a full disk.
  test.skipIf(!existsSync('/dev/full'))('stops in one sentence where the disk fills up meanwhile', async () => {
    const { hash } = (await listRevision({ endpoint: hub.url, token: undefined }, ID, 'main')).files.find(
      ({ path }) => path === 'model.safetensors',
    )!
    mkdirSync(folder(), { recursive: true })
    symlinkSync('/dev/full', join(folder(), `model.safetensors.${hash.hex.slice(0, 12)}.part`))
    expectRefusal(await run(['pull', ID]), /The disk of .* is full: make room and pull again/)
  })

  test.each([
    ['{"weight_map": {"x": "../../evil.safetensors"}}', /names "\.\.\/\.\.\/evil\.safetensors"/],
    ['{"weight_map": {"x": "missing.safetensors"}}', /names "missing\.safetensors"/],
    ['{"weight_map": {}}', /has no weight_map/],
    ['not json', /has no weight_map/],
  ])('refuses the damaged index %s', async (index, pattern) => {
    const { 'model.safetensors': _, ...rest } = FILES
    const files = {
      ...rest,
      'model.safetensors.index.json': Buffer.from(index),
      '../../evil.safetensors': WEIGHTS,
    }
    hub.repositories['acme/sharded'] = { files }
    expectRefusal(await run(['pull', 'acme/sharded']), pattern)
  })

  test('refuses before the first byte what does not fit on the disk', async () => {
    expectRefusal(await run(['pull', ID], {}, 1000), /are needed but 1\.0 kB are free at .*--to/)
    expect(requests('resolve')).toEqual([])
  })

  test('says so when the Hub cannot be reached or is none', async () => {
    const { url } = hub
    await hub.close()
    hub = await new HubServer().listen()
    expectRefusal(await run(['pull', ID], { HF_ENDPOINT: url }), /cannot be reached \(ECONNREFUSED\)/, 3)
    expectRefusal(await run(['pull', ID], { HF_ENDPOINT: 'nonsense' }), /HF_ENDPOINT=nonsense is not a URL/, 2)
    expectRefusal(await run(['pull', ID], { HF_HUB_OFFLINE: '1' }), /HF_HUB_OFFLINE is set/)
  })
})

describe('a path', () => {
  test('is opened, not downloaded', async () => {
    const result = await run(['pull', source])
    expect(result).toMatchObject({ code: 0, err: '' })
    expect(result.out).toMatch(/^llama, /)
    expect(hub.seen).toEqual([])
  })

  test('is refused in one sentence where there is no model that can be served', async () => {
    expectRefusal(await run(['pull', './nowhere']), /There is no model at \.\/nowhere/)
    const cut = writeTinyModel(join(root, 'cut'))
    writeFileSync(join(cut, 'model.safetensors'), WEIGHTS.subarray(0, WEIGHTS.length - 5))
    expectRefusal(await run(['pull', cut]), /model\.safetensors/)
    expectRefusal(await run(['pull', root]), /config\.json is missing/)
  })
})

test('a command line that makes no sense is one sentence and exit code 2', async () => {
  expectRefusal(await run([]), /Say what to pull/, 2)
  expectRefusal(await run(['push', ID]), /Say what to pull/, 2)
  expectRefusal(await run(['pull', ID, '--bogus']), /--bogus/, 2)
  expectRefusal(await run(['pull', ID, '--file', 'model.bin']), /is not a \.gguf file/, 2)
  for (const help of ['--help', '-h']) expect((await run([help])).out).toContain('npm run model -- pull')
})
