import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, describe, expect, test, vi } from 'vitest'
import { type SharedAdapter, SharedAdapters } from '../../../../gpu-backend/engine/vllm/shared-adapters.ts'
import { BackendError } from '../../../../gpu-backend/errors.ts'
import { body } from '../../../support/ask.ts'
import { expectOneSentence } from '../../../support/one-sentence.ts'
import { type EncodedDelta, encodedRandomDelta } from '../../../support/random-delta.ts'
import { temporaryDir } from '../../../support/temporary-dir.ts'
import { tinyBase } from '../../../support/tiny-base.ts'

const BASE = tinyBase('gqa')
const root = temporaryDir()
const LIMITS = { maxRank: 16, fixedModules: ['embed_tokens'] }
const opened: SharedAdapters[] = []
let folders = 0

afterAll(() => Promise.all(opened.map((adapters) => adapters.close())))

/** Deltas in `dir`, and what was let go of, in order. */
function open(dir = join(root, String(folders++)), capacityBytes = 1e9) {
  const discarded: SharedAdapter[] = []
  const adapters = new SharedAdapters(dir, BASE, capacityBytes, async (adapter) => void discarded.push(adapter))
  opened.push(adapters)
  const admit = ({ digest, bytes }: Pick<EncodedDelta, 'digest' | 'bytes'>) =>
    adapters.admit(digest, body(bytes), 1e9, LIMITS)
  return { dir, adapters, discarded, admit }
}

const delta = (seed: number, rank = 4, chatTemplate?: string) =>
  encodedRandomDelta(BASE, { seed, rank, ...(chatTemplate === undefined ? {} : { chatTemplate }) })

async function refusal(action: Promise<unknown>): Promise<BackendError> {
  const error = await action.catch((reason: unknown) => reason)
  if (!(error instanceof BackendError)) throw error ?? new Error('was accepted')
  expectOneSentence(error.message)
  return error
}

describe('a shared delta', () => {
  test('is a PEFT directory with the canonical bytes and a scale of one', async () => {
    const { admit } = open()
    const one = await delta(1, 12)
    const { path } = await admit(one)
    expect(readFileSync(join(path, 'adapter_model.safetensors')).equals(Buffer.from(one.bytes))).toBe(true)
    const config = JSON.parse(readFileSync(join(path, 'adapter_config.json'), 'utf8'))
    expect(config).toMatchObject({ peft_type: 'LORA', r: 12, lora_alpha: 12, bias: 'none' })
    expect(config.target_modules).toContain('q_proj')
  })

  test('brings its chat template, and is found again by the next process, in the order of use', async () => {
    const { dir, admit, adapters } = open()
    const [one, two] = [await delta(1, 4, 'Q: {{ messages }}'), await delta(2)]
    for (const each of [one, two]) await admit(each)
    expect(adapters.hold(one.digest, 1).chatTemplate).toBe('Q: {{ messages }}')
    const next = open(dir)
    expect(new Set(next.adapters.digests())).toEqual(new Set([one.digest, two.digest]))
    expect(next.adapters.hold(one.digest, 1).chatTemplate).toBe('Q: {{ messages }}')
    expect(next.adapters.hold(two.digest, 1).chatTemplate).toBeUndefined()
  })

  test('whose files cannot be removed is forgotten all the same, and ends nothing else', async () => {
    const discard = vi.fn(() => Promise.reject(new Error('the shared directory is away')))
    const adapters = new SharedAdapters(join(root, String(folders++)), BASE, 1, discard)
    opened.push(adapters)
    const [one, two] = [await delta(1), await delta(2)]
    for (const { digest, bytes } of [one, two]) await adapters.admit(digest, body(bytes), 1e9, LIMITS)
    expect(adapters.digests()).toEqual([two.digest])
    adapters.forgetSoon(two.digest)
    expect(adapters.digests()).toEqual([])
    await expect.poll(() => discard.mock.calls.length).toBe(2)
    // Whoever asks for it to be gone hears that it is not.
    await adapters.admit(one.digest, body(one.bytes), 1e9, LIMITS)
    await expect(adapters.forget(one.digest)).rejects.toThrow('the shared directory is away')
  })

  test('sent twice at once is kept once', async () => {
    const { dir, admit } = open()
    const one = await delta(1)
    const [x, y] = await Promise.all([admit(one), admit(one)])
    expect(x.path).toBe(y.path)
    expect(readdirSync(dir)).toHaveLength(1)
  })

  test('is checked while the server goes on', async () => {
    const { admit } = open()
    const { bytes } = await delta(1)
    let turned = false
    setImmediate(() => {
      turned = true
    })
    // Refused, so that nothing is written, which takes turns of its own.
    await refusal(admit({ digest: `sha256:${'0'.repeat(64)}`, bytes }))
    expect(turned).toBe(true)
  })

  test('is removed once nothing holds it and its loader has let go, and comes back under another path', async () => {
    const { admit, adapters, discarded } = open()
    const one = await delta(1)
    const before = await admit(one)
    const held = adapters.hold(one.digest, 2)
    const forgotten = adapters.forget(one.digest)
    expect(() => adapters.hold(one.digest, 1)).toThrow(BackendError)
    held.release(1)
    expect([existsSync(before.path), discarded]).toEqual([true, []])
    const after = await admit(one)
    held.release(1)
    await forgotten
    expect(discarded.map(({ path }) => path)).toEqual([before.path])
    expect(after.path).not.toBe(before.path)
    expect([existsSync(before.path), existsSync(after.path)]).toEqual([false, true])
    expect(adapters.hold(one.digest, 1).adapter.path).toBe(after.path)
  })

  test('that was used least recently goes where the disk is full, unless it is held', async () => {
    const { admit, adapters, discarded } = open(undefined, 1.5 * (await delta(1)).bytes.length + 3000)
    const [one, two, three] = [await delta(1), await delta(2), await delta(3)]
    await admit(one)
    adapters.hold(one.digest, 1)
    await admit(two)
    expect(adapters.digests()).toEqual([one.digest, two.digest])
    await admit(three)
    expect(adapters.digests()).toEqual([one.digest, three.digest])
    expect(discarded.map(({ digest }) => digest)).toEqual([two.digest])
  })

  test('that cannot be served is refused in one sentence and leaves nothing', async () => {
    const { dir, admit, adapters } = open()
    const large = await refusal(admit(await delta(1, 17)))
    expect(large).toMatchObject({ code: 'invalid_delta', message: expect.stringContaining('rank 17') })
    const fixed = await encodedRandomDelta(BASE, { seed: 2, rank: 2, modules: () => true })
    expect((await refusal(admit(fixed))).message).toContain('embed_tokens')
    const one = await delta(3)
    const wrong = adapters.admit(`sha256:${'0'.repeat(64)}`, body(one.bytes), 1e9, LIMITS)
    expect((await refusal(wrong)).code).toBe('digest_mismatch')
    expect(readdirSync(dir)).toEqual([])
  })

  test('whose directory has vanished or was never finished is missing', async () => {
    const { dir, admit } = open()
    const [one, two] = [await delta(1), await delta(2)]
    const [gone, half] = [await admit(one), await admit(two)]
    mkdirSync(join(dir, `${'a'.repeat(64)}-00000000.writing`))
    writeFileSync(join(dir, 'not-ours'), '')
    rmSync(join(half.path, 'adapter_config.json'))
    const next = open(dir)
    rmSync(gone.path, { recursive: true })
    for (const { digest } of [one, two]) expect(() => next.adapters.hold(digest, 1)).toThrow(digest)
    expect(readdirSync(dir)).toEqual(['not-ours'])
  })
})
