// A disk that is full before a tier is, or fails otherwise: its calls end as the operating system's do, so many times or until told.
import { readdirSync, truncateSync } from 'node:fs'
import { join } from 'node:path'
import { beforeEach, describe, expect, test, vi } from 'vitest'
import { SharedAdapters } from '../../../gpu-backend/engine/vllm/shared-adapters.ts'
import { DiskTier } from '../../../gpu-backend/residency/disk-tier.ts'
import { body } from '../../support/ask.ts'
import { expectOneSentence } from '../../support/one-sentence.ts'
import { projectionGroupsOf } from '../../support/projection-groups.ts'
import { encodedRandomDelta } from '../../support/random-delta.ts'
import { temporaryDir } from '../../support/temporary-dir.ts'
import { tinyBase } from '../../support/tiny-base.ts'

const disk = vi.hoisted(() => ({ failures: 0, code: 'ENOSPC', readOnly: false, tooManyOpen: false }))

function tooManyOpenError(): Error {
  return Object.assign(new Error('EMFILE: open'), { code: 'EMFILE' })
}

function failing<Arguments extends unknown[], T>(write: (...given: Arguments) => Promise<T>) {
  return async (...given: Arguments): Promise<T> => {
    if (disk.failures-- > 0) throw Object.assign(new Error(`${disk.code}: write`), { code: disk.code })
    return write(...given)
  }
}

vi.mock('../../../gpu-backend/residency/delta-file.ts', async (importOriginal) => {
  const original = await importOriginal<typeof import('../../../gpu-backend/residency/delta-file.ts')>()
  return { ...original, writeDeltaFile: failing(original.writeDeltaFile) }
})
vi.mock('node:fs', async (importOriginal) => {
  const original = await importOriginal<typeof import('node:fs')>()
  const rmSync: typeof original.rmSync = (...given) => {
    if (disk.readOnly) throw Object.assign(new Error('EROFS: rm'), { code: 'EROFS' })
    original.rmSync(...given)
  }
  const readFileSync = ((...given: Parameters<typeof original.readFileSync>) => {
    if (disk.tooManyOpen) throw tooManyOpenError()
    return original.readFileSync(...given)
  }) as typeof original.readFileSync
  return { ...original, readFileSync, rmSync }
})
vi.mock('node:fs/promises', async (importOriginal) => {
  const original = await importOriginal<typeof import('node:fs/promises')>()
  const utimes: typeof original.utimes = async (...given) => {
    if (disk.readOnly) throw Object.assign(new Error('EROFS: utimes'), { code: 'EROFS' })
    return original.utimes(...given)
  }
  const open: typeof original.open = async (...given) => {
    if (disk.tooManyOpen) throw tooManyOpenError()
    return original.open(...given)
  }
  return { ...original, open, utimes }
})
vi.mock('../../../gpu-backend/engine/vllm/peft-directory.ts', async (importOriginal) => {
  const original = await importOriginal<typeof import('../../../gpu-backend/engine/vllm/peft-directory.ts')>()
  return { ...original, writePeftDirectory: failing(original.writePeftDirectory) }
})

const base = tinyBase('gqa')
const root = temporaryDir()
const MANY_BYTES = 1e9
let made = 0

interface Tier {
  readonly dir: string
  admit(digest: string, bytes: Uint8Array): Promise<unknown>
  use(digest: string): Promise<unknown>
  digests(): string[]
  /** Somebody runs with it. */
  hold?(digest: string): void
}

function diskTier(): Tier {
  const tier = new DiskTier(join(root, String(made++)), base, projectionGroupsOf(base), MANY_BYTES)
  return {
    dir: tier.dir,
    admit: (digest, bytes) => tier.admit(digest, body(bytes), MANY_BYTES),
    use: (digest) => tier.use(digest),
    digests: () => tier.digests(),
  }
}

function sharedAdapters(): Tier {
  const adapters = new SharedAdapters(join(root, String(made++)), base, MANY_BYTES, async () => {})
  const limits = { maxRank: 16, fixedModules: [] }
  return {
    dir: adapters.dir,
    admit: (digest, bytes) => adapters.admit(digest, body(bytes), MANY_BYTES, limits),
    use: async (digest) => adapters.hold(digest, 1),
    digests: () => adapters.digests(),
    hold: (digest) => void adapters.hold(digest, 1),
  }
}

const delta = (seed: number) => encodedRandomDelta(base, { seed, rank: 4 })

beforeEach(() => {
  Object.assign(disk, { failures: 0, code: 'ENOSPC', readOnly: false, tooManyOpen: false })
})

test('a delta that is there is used where the times of files cannot be written', async () => {
  const tier = new DiskTier(join(root, String(made++)), base, projectionGroupsOf(base), MANY_BYTES)
  const { digest, bytes } = await delta(1)
  await tier.admit(digest, body(bytes), MANY_BYTES)
  disk.readOnly = true
  await expect(tier.use(digest)).resolves.toEqual({ chatTemplate: undefined })
  expect(tier.has(digest)).toBe(true)
})

test('a delta that cannot be read is asked for again where its file cannot be removed', async () => {
  const tier = new DiskTier(join(root, String(made++)), base, projectionGroupsOf(base), MANY_BYTES)
  const { digest, bytes } = await delta(1)
  await tier.admit(digest, body(bytes), MANY_BYTES)
  truncateSync(join(tier.dir, readdirSync(tier.dir)[0]!), 40)
  disk.readOnly = true
  await expect(tier.use(digest)).rejects.toMatchObject({ code: 'adapter_missing' })
  expect(tier.has(digest)).toBe(false)
})

test.each<[string, () => Tier]>([
  ['the disk tier', diskTier],
  ["vLLM's shared deltas", sharedAdapters],
])('where too many files are open to look at a delta, it is kept by %s', async (_, open) => {
  const tier = open()
  const { digest, bytes } = await delta(1)
  await tier.admit(digest, bytes)
  disk.tooManyOpen = true
  const error = await tier.use(digest).catch((reason: unknown) => reason)
  expect(error).toMatchObject({ name: 'BackendError', code: 'unavailable' })
  expectOneSentence((error as Error).message)
  disk.tooManyOpen = false
  await expect(tier.use(digest)).resolves.toMatchObject({ chatTemplate: undefined })
})

describe.each<[string, () => Tier]>([
  ['the disk tier', diskTier],
  ["vLLM's shared deltas", sharedAdapters],
])('where the disk is full, %s', (_, open) => {
  test.each(['ENOSPC', 'EDQUOT'])('drop the least recently used for a new one (%s)', async (code) => {
    const tier = open()
    const [first, second, third] = [await delta(1), await delta(2), await delta(3)]
    for (const { digest, bytes } of [first, second]) await tier.admit(digest, bytes)
    Object.assign(disk, { failures: 1, code })
    await tier.admit(third.digest, third.bytes)
    expect(tier.digests()).toEqual([second.digest, third.digest])
    expect(readdirSync(tier.dir)).toHaveLength(2)
  })

  test('send the edge to another backend when nothing is left to drop', async () => {
    const tier = open()
    const [kept, next] = [await delta(1), await delta(2)]
    await tier.admit(kept.digest, kept.bytes)
    tier.hold?.(kept.digest)
    disk.failures = 2
    const error = await tier.admit(next.digest, next.bytes).catch((reason: unknown) => reason)
    expect(error).toMatchObject({ name: 'BackendError', code: 'unavailable' })
    expectOneSentence((error as Error).message)
    expect(tier.digests()).toEqual(tier.hold ? [kept.digest] : [])
  })

  test.each(['EIO', 'EROFS', 'EMFILE'])('drop nothing where it is not full but fails (%s)', async (code) => {
    const tier = open()
    const [kept, next] = [await delta(1), await delta(2)]
    await tier.admit(kept.digest, kept.bytes)
    Object.assign(disk, { failures: 1, code })
    const error = await tier.admit(next.digest, next.bytes).catch((reason: unknown) => reason)
    expect(error).toMatchObject({ name: 'BackendError', code: 'unavailable' })
    expectOneSentence((error as Error).message)
    expect(tier.digests()).toEqual([kept.digest])
  })
})
