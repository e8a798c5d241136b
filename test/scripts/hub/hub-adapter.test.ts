import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { mkdtempSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { importAdapter } from '../../../adapters/import-adapter.ts'
import { openHubAdapter } from '../../../scripts/hub/hub-adapter.ts'
import { COMMIT, HubServer } from '../../support/hub-server.ts'
import { runWithEnv } from '../../support/run-polylora.ts'
import { temporaryDir } from '../../support/temporary-dir.ts'
import { FORMATS, tinyBase } from '../../support/tiny-base.ts'

const ID = 'acme/lora'
const WEIGHTS = 'adapter_model.safetensors'
const LOCKS = new URL('../../../scripts/file-lock.ts', import.meta.url)
const FILES = Object.fromEntries(
  ['adapter_config.json', WEIGHTS].map((name) => [name, readFileSync(join(FORMATS, 'peft-plain', name))]),
)

describe('an adapter on the Hugging Face hub', () => {
  let hub: HubServer
  const folder = temporaryDir()

  beforeEach(async () => {
    hub = await new HubServer().listen()
    hub.repositories[ID] = { files: FILES }
  })
  afterEach(() => hub.close())

  const run = (...argv: string[]) => runWithEnv({ HF_ENDPOINT: hub.url, HF_TOKEN: 'secret' }, ...argv)

  test('is not asked for where HF_HUB_OFFLINE is set', async () => {
    const offline = { HF_ENDPOINT: hub.url, HF_HUB_OFFLINE: '1' }
    const sentence = `HF_HUB_OFFLINE is set, so hf:${ID} is not downloaded; give the path of what is here.`
    for (const command of [
      ['inspect', `hf:${ID}`],
      ['pull', `hf:${ID}`, '--out', folder],
    ]) {
      expect(await runWithEnv(offline, ...command)).toEqual({ code: 1, out: '', err: `polylora: ${sentence}\n` })
    }
    expect(hub.seen).toEqual([])
  })

  test('is read by ranges, of one commit, with the token', async () => {
    const files = await openHubAdapter(`hf:${ID}`, { endpoint: hub.url, token: 'secret' }, 4096)
    const source = await importAdapter(files, { base: tinyBase('gqa') })
    const { a } = await source.modules.get('model.layers.0.self_attn.q_proj')!.load()
    expect(a.length).toBe(4 * 32)
    expect(new Set(hub.tokens)).toEqual(new Set(['Bearer secret']))
    expect(hub.seen.at(-1)).toMatch(new RegExp(`^/${ID}/resolve/${COMMIT}/${WEIGHTS} bytes=`))
    // 28 tensors, in pieces and not one by one.
    const before = hub.seen.length
    for (const module of source.modules.values()) await module.load()
    expect(hub.seen.length - before).toBeLessThan(2 * source.modules.size)
  })

  test('is inspected without a download', async () => {
    expect(await run('inspect', `hf:${ID}`, '--json')).toMatchObject({
      code: 0,
      out: expect.stringContaining('"peft"'),
    })
  })

  test('is pulled into a folder, going on where an interrupted pull stopped', async () => {
    const whole = FILES[WEIGHTS]!
    const blobId = createHash('sha1').update(`blob ${whole.length}\0`).update(whole).digest('hex')
    writeFileSync(join(folder, `${WEIGHTS}.${blobId.slice(0, 12)}.part`), whole.subarray(0, 5000))
    expect(await run('pull', `hf:${ID}`, '--out', folder)).toMatchObject({ code: 0, err: '' })
    expect(readFileSync(join(folder, WEIGHTS))).toEqual(whole)
    expect(hub.seen).toContain(`/${ID}/resolve/${COMMIT}/${WEIGHTS} bytes=5000-`)
    hub.seen.length = 0
    await run('pull', `hf:${ID}`, '--out', folder)
    expect(hub.seen).toEqual([`/api/models/${ID}/revision/main`])
  })

  test('is not pulled over a file of somebody else’s, and nothing of it is', async () => {
    const own = mkdtempSync(join(folder, 'own-'))
    writeFileSync(join(own, WEIGHTS), 'mine')
    const sentence = `${join(own, WEIGHTS)} is there with other bytes: move it away, or give --out another folder.`
    expect(await run('pull', `hf:${ID}`, '--out', own)).toEqual({ code: 1, out: '', err: `polylora: ${sentence}\n` })
    expect(readdirSync(own)).toEqual([WEIGHTS])
    expect(readFileSync(join(own, WEIGHTS), 'utf8')).toBe('mine')
  })

  test('is pulled by one process at a time, and by the next one once that has ended, however it did', async () => {
    const shared = mkdtempSync(join(folder, 'shared-'))
    const target = join(shared, WEIGHTS)
    const script = `import { lockFile } from ${JSON.stringify(LOCKS.href)}
      globalThis.lock = lockFile(process.argv[1], '')
      process.stdout.write('taken')
      setInterval(() => {}, 1000)`
    const other = spawn(process.execPath, ['--input-type=module', '-e', script, `${target}.part.lock`], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    const ended = once(other, 'exit')
    await once(other.stdout, 'data')
    const refused = await run('pull', `hf:${ID}`, '--out', shared)
    other.kill('SIGKILL')
    await ended
    const sentence = `Another pull is downloading ${target}: wait until it has ended.`
    expect(refused).toEqual({ code: 1, out: '', err: `polylora: ${sentence}\n` })
    expect(await run('pull', `hf:${ID}`, '--out', shared)).toMatchObject({ code: 0, err: '' })
    expect(readdirSync(shared).sort()).toEqual(Object.keys(FILES).sort())
  })

  test('is refused when a file would leave the folder', async () => {
    hub.repositories[ID] = { files: { ...FILES, '../../.bashrc': Buffer.from('x') } }
    const { code, err } = await run('pull', `hf:${ID}`, '--out', folder)
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
