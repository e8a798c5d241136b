import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { lstatSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import { parseHeader } from '../../adapters/safetensors.ts'
import { EMBEDDED_MODEL, EMBEDDED_NAME } from '../../gpu-backend/config.ts'
import { runOnTerminal, runPolylora } from '../support/run-polylora.ts'
import { temporaryDir } from '../support/temporary-dir.ts'

const data = temporaryDir()
const ADAPTER = 'adapters/samples/forno'
/** The line is empty again. */
const CLEARED = '\r\x1b[K'

describe('polylora convert', () => {
  test('names the embedded base as it is served, so that publishing the same files gives the same digest', async () => {
    const out = join(data, 'forno.safetensors')
    expect(await runPolylora('convert', ADAPTER, '--base', EMBEDDED_MODEL, '--out', out)).toMatchObject({ code: 0 })
    const bytes = readFileSync(out)
    expect(parseHeader(bytes, bytes.byteLength, out).metadata.get('base_name')).toBe(EMBEDDED_NAME)
  })

  test('writes to the path of a file alone, and puts nothing in the place of anything else', async () => {
    const taken = join(data, 'folder')
    mkdirSync(taken)
    const link = join(data, 'device')
    symlinkSync('/dev/null', link)
    for (const out of [taken, link]) {
      const { code, err } = await runPolylora('convert', ADAPTER, '--base', EMBEDDED_MODEL, '--out', out)
      expect([code, err]).toEqual([2, `polylora: --out ${out} is no file: give the path of one, or of none.\n`])
    }
    expect(lstatSync(link).isSymbolicLink()).toBe(true)
    expect(readdirSync(data).filter((name) => name.startsWith('.'))).toEqual([])
  })

  test('that is interrupted leaves nothing beside the wanted file, nor takes anything away there', async () => {
    const folder = mkdtempSync(join(data, 'interrupted-'))
    writeFileSync(join(folder, 'forno.safetensors.partial'), 'of somebody else')
    const command = ['convert', ADAPTER, '--base', EMBEDDED_MODEL, '--out', join(folder, 'forno.safetensors')]
    const child = spawn(process.execPath, ['scripts/polylora.ts', ...command], { stdio: 'ignore' })
    const ended = once(child, 'exit')
    while (readdirSync(folder).length === 1) await nextTurn()
    child.kill('SIGINT')
    expect(await ended).toEqual([null, 'SIGINT'])
    expect(readdirSync(folder)).toEqual(['forno.safetensors.partial'])
  })

  test('keeps the hashes of base models with its user, where no other user of the machine writes', async () => {
    const [home, shared] = [mkdtempSync(join(data, 'home-')), mkdtempSync(join(data, 'shared-'))]
    // What another user has left there may not be written to.
    writeFileSync(join(shared, 'polylora-base-models'), '')
    const command = ['scripts/polylora.ts', 'inspect', ADAPTER, '--base', EMBEDDED_MODEL]
    const env = { PATH: process.env.PATH, HOME: home, TMPDIR: shared }
    const child = spawn(process.execPath, command, { env, stdio: ['ignore', 'ignore', 'inherit'] })
    expect(await once(child, 'exit')).toEqual([0, null])
    expect(readdirSync(join(home, '.cache/polylora/base-models/hashes'))).not.toEqual([])
    expect(readdirSync(shared)).toEqual(['polylora-base-models'])
  })

  test('says of a base that is not there what it may be', async () => {
    const nowhere = join(data, 'nowhere')
    const refused = await runPolylora('convert', ADAPTER, '--base', nowhere, '--out', join(data, 'x.safetensors'))
    const sentence = `There is no model at ${nowhere}: give a folder in Hugging Face layout or a .gguf file.`
    expect(refused).toMatchObject({ code: 1, err: `polylora: ${sentence}\n` })
  })

  test('says which folder is missing, where the file’s is', async () => {
    const out = join(data, 'nowhere', 'forno.safetensors')
    const { code, err } = await runPolylora('convert', ADAPTER, '--base', EMBEDDED_MODEL, '--out', out)
    const folder = join(data, 'nowhere')
    expect([code, err]).toEqual([2, `polylora: --out ${out}: there is no folder ${folder}; make it first.\n`])
  })

  test('shows how far it has come, on a terminal alone', async () => {
    const shrink = ['--base', EMBEDDED_MODEL, '--shrink-rank', '8']
    const converted = await runOnTerminal('convert', ADAPTER, ...shrink, '--out', join(data, 'small.safetensors'))
    expect(converted).toMatchObject({ code: 0 })
    for (const step of ['reading ...', 'shrinking  [', 'checking ...', 'writing    ['])
      expect(converted.err).toContain(step)
    expect(converted.err.endsWith(CLEARED)).toBe(true)
    const inspected = await runOnTerminal('inspect', ADAPTER, ...shrink)
    for (const step of ['reading ...', 'shrinking  [', 'checking ...']) expect(inspected.err).toContain(step)
    expect(inspected.err.endsWith(CLEARED)).toBe(true)
    expect(await runPolylora('inspect', ADAPTER, ...shrink)).toMatchObject({ code: 0, err: '' })
  })
})
