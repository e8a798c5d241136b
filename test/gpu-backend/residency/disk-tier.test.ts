import fs, {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { syncBuiltinESMExports } from 'node:module'
import { basename, join } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import { afterAll, describe, expect, onTestFinished, test, vi } from 'vitest'
import { digestOf } from '../../../adapters/digest.ts'
import { BackendError } from '../../../gpu-backend/errors.ts'
import { withSmoothing } from '../../../gpu-backend/model/projection-groups.ts'
import { readDeltaFile } from '../../../gpu-backend/residency/delta-file.ts'
import { DiskTier } from '../../../gpu-backend/residency/disk-tier.ts'
import { expectOneSentence } from '../../support/one-sentence.ts'
import { projectionGroupsOf } from '../../support/projection-groups.ts'
import fc from '../../support/properties.ts'
import { type EncodedDelta, encodedRandomDelta } from '../../support/random-delta.ts'
import { temporaryDir } from '../../support/temporary-dir.ts'
import { tinyBase } from '../../support/tiny-base.ts'

const base = tinyBase('gqa')
const groups = projectionGroupsOf(base)
const root = temporaryDir()
const MANY_BYTES = 1e9
const CHUNK_BYTES = 1000
let made = 0

const freshDir = () => join(root, String(made++))
const opened: DiskTier[] = []

function open(dir: string, capacityBytes = MANY_BYTES, its = groups, maxRank?: number): DiskTier {
  const tier = new DiskTier(dir, base, its, capacityBytes, maxRank)
  opened.push(tier)
  return tier
}
const fileOf = (tier: DiskTier, digest: string) => join(tier.dir, `${digest.slice('sha256:'.length)}.delta`)

afterAll(() => Promise.all(opened.map((tier) => tier.close())))

async function* inPieces(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  for (let start = 0; start < bytes.length; start += CHUNK_BYTES) yield bytes.subarray(start, start + CHUNK_BYTES)
}

const admit = (tier: DiskTier, { digest, bytes }: Pick<EncodedDelta, 'digest' | 'bytes'>, maxBytes = MANY_BYTES) =>
  tier.admit(digest, inPieces(bytes), maxBytes)

/** The refusal with which `action` ends. */
async function refusal(action: Promise<unknown>): Promise<BackendError> {
  const error = await action.then(
    () => undefined,
    (reason: unknown) => reason,
  )
  if (!(error instanceof BackendError)) throw new Error(`expected a refusal, got ${error}`)
  expectOneSentence(error.message)
  return error
}

describe('the disk tier', () => {
  test('refuses a rank above what the operator allows, and takes one within', async () => {
    const tier = open(freshDir(), MANY_BYTES, groups, 4)
    const error = await refusal(admit(tier, await encodedRandomDelta(base, { seed: 1, rank: 5 })))
    expect(error.code).toBe('invalid_delta')
    expect(error.message).toMatch(/rank 5 and the operator allows 4/)
    await admit(tier, await encodedRandomDelta(base, { seed: 1, rank: 4 }))
    expect(tier.count).toBe(1)
  })

  test('takes in a canonical file that comes in pieces and knows it again after a restart', async () => {
    const delta = await encodedRandomDelta(base, { seed: 1, rank: 2, chatTemplate: '{{ messages[0].content }}' })
    const tier = open(freshDir())
    await admit(tier, delta)
    expect(await tier.use(delta.digest)).toEqual({ chatTemplate: '{{ messages[0].content }}' })
    const again = open(tier.dir)
    expect(again.digests()).toEqual([delta.digest])
    expect(await again.use(delta.digest)).toEqual({ chatTemplate: '{{ messages[0].content }}' })
    expect((await readDeltaFile(fileOf(again, delta.digest), groups, base)).digest).toBe(delta.digest)
  })

  test('counts what was packed for another graph as missing, and packs it anew when it comes again', async () => {
    const delta = await encodedRandomDelta(base, { seed: 1, rank: 2 })
    const tier = open(freshDir())
    await admit(tier, delta)
    const rounded = withSmoothing(groups, (group) => new Float32Array(group.in).fill(1))
    const other = open(tier.dir, MANY_BYTES, rounded)
    expect((await refusal(other.use(delta.digest))).code).toBe('adapter_missing')
    expect(other.count).toBe(0)
    await admit(other, delta)
    await other.use(delta.digest)
    const { groups: packed } = await readDeltaFile(fileOf(other, delta.digest), rounded, base)
    expect(packed[0]!.a).not.toBeInstanceOf(Float32Array)
  })

  test('says which delta is missing', async () => {
    const digest = `sha256:${'0'.repeat(64)}`
    const error = await refusal(open(freshDir()).use(digest))
    expect(error.code).toBe('adapter_missing')
    expect(error.message).toContain(digest)
  })

  test('lets the server go on while it checks a delta', async () => {
    const { bytes } = await encodedRandomDelta(base, { seed: 1, rank: 2 })
    let turned = false
    globalThis.setImmediate(() => {
      turned = true
    })
    // Refused, so that nothing is written, which takes turns of its own.
    await refusal(admit(open(freshDir()), { digest: `sha256:${'0'.repeat(64)}`, bytes }))
    expect(turned).toBe(true)
  })

  test('leaves a delta as it is when the same one comes again', async () => {
    const delta = await encodedRandomDelta(base, { seed: 1, rank: 2 })
    const tier = open(freshDir())
    await admit(tier, delta)
    const written = statSync(fileOf(tier, delta.digest)).ino
    await admit(tier, delta)
    expect(statSync(fileOf(tier, delta.digest)).ino).toBe(written)
    expect(tier.count).toBe(1)
  })

  test('takes in many at the same time, the same one twice among them', async () => {
    const tier = open(freshDir())
    const deltas = await Promise.all([1, 2, 3].map((seed) => encodedRandomDelta(base, { seed, rank: 1 })))
    await Promise.all([...deltas, ...deltas].map((delta) => admit(tier, delta)))
    expect(new Set(tier.digests())).toEqual(new Set(deltas.map(({ digest }) => digest)))
    expect(readdirSync(tier.dir)).toHaveLength(3)
  })

  describe('refuses, and keeps nothing of,', () => {
    async function refused(delta: Pick<EncodedDelta, 'digest' | 'bytes'>, maxBytes?: number): Promise<BackendError> {
      const tier = open(freshDir())
      const error = await refusal(admit(tier, delta, maxBytes))
      expect(tier.count).toBe(0)
      expect(readdirSync(tier.dir)).toEqual([])
      return error
    }

    test('bytes that do not have the digest they are sent under', async () => {
      const { digest, bytes } = await encodedRandomDelta(base, { seed: 1, rank: 2 })
      bytes[bytes.length - 1]! ^= 1
      const error = await refused({ digest, bytes })
      expect(error.code).toBe('digest_mismatch')
      expect(error.message).toContain(await digestOf(bytes))
    })

    test('a file that was cut short before it was hashed', async () => {
      const { bytes } = await encodedRandomDelta(base, { seed: 1, rank: 2 })
      for (const length of [0, 7, 100, bytes.length - 4]) {
        const cut = bytes.slice(0, length)
        expect((await refused({ digest: await digestOf(cut), bytes: cut })).code).toBe('invalid_delta')
      }
    })

    test.each([Number.NaN, Number.POSITIVE_INFINITY])('a delta that holds %s', async (value) => {
      const { bytes } = await encodedRandomDelta(base, { seed: 1, rank: 2 })
      new DataView(bytes.buffer).setFloat32(bytes.length - 4, value, true)
      const error = await refused({ digest: await digestOf(bytes), bytes })
      expect(error.code).toBe('invalid_delta')
      expect(error.message).toContain('not finite')
    })

    test('a delta for another base, by its fingerprint or by its shapes', async () => {
      const other = await encodedRandomDelta(tinyBase('mha'), { seed: 1, rank: 2 })
      expect((await refused(other)).message).toContain('published for base')
      const renamed = await encodedRandomDelta(
        { ...tinyBase('mha'), fingerprint: base.fingerprint },
        { seed: 1, rank: 2 },
      )
      expect((await refused(renamed)).message).toContain('for another base model')
    })

    test('what is no delta at all', async () => {
      const bytes = new TextEncoder().encode('hello, this is not a delta')
      expect((await refused({ digest: await digestOf(bytes), bytes })).code).toBe('invalid_delta')
    })

    test('more bytes than allowed, without reading the rest', async () => {
      const delta = await encodedRandomDelta(base, { seed: 1, rank: 2 })
      expect((await refused(delta, delta.bytes.length - 1)).code).toBe('too_large')
      let pieces = 0
      async function* endless(): AsyncGenerator<Uint8Array> {
        for (;;) {
          pieces++
          yield new Uint8Array(CHUNK_BYTES)
        }
      }
      const error = await refusal(open(freshDir()).admit(delta.digest, endless(), 10 * CHUNK_BYTES))
      expect(error.code).toBe('too_large')
      expect(pieces).toBe(11)
    })

    test('a body that breaks off', async () => {
      const { digest, bytes } = await encodedRandomDelta(base, { seed: 1, rank: 2 })
      async function* broken(): AsyncGenerator<Uint8Array> {
        yield bytes.subarray(0, CHUNK_BYTES)
        throw new Error('the connection was lost')
      }
      const tier = open(freshDir())
      await expect(tier.admit(digest, broken(), MANY_BYTES)).rejects.toThrow('the connection was lost')
      expect(readdirSync(tier.dir)).toEqual([])
    })
  })

  test('evicts the least recently used when it is full, and never the newest', async () => {
    const deltas = await Promise.all([1, 2, 3].map((seed) => encodedRandomDelta(base, { seed, rank: 2 })))
    const [first, second, third] = deltas.map(({ digest }) => digest)
    const tier = open(freshDir())
    await admit(tier, deltas[0]!)
    const bytes = statSync(fileOf(tier, first!)).size
    const small = open(tier.dir, 2 * bytes)
    await admit(small, deltas[1]!)
    await small.use(first!)
    await admit(small, deltas[2]!)
    expect(small.digests()).toEqual([first, third])
    expect(readdirSync(tier.dir)).toHaveLength(2)
    expect((await refusal(small.use(second!))).code).toBe('adapter_missing')
    const tiny = open(freshDir(), 1)
    await admit(tiny, deltas[0]!)
    expect(tiny.digests()).toEqual([first])
  })

  test('remembers over a restart which was used last', async () => {
    const deltas = await Promise.all([1, 2].map((seed) => encodedRandomDelta(base, { seed, rank: 2 })))
    const [first, second] = deltas.map(({ digest }) => digest)
    const tier = open(freshDir())
    for (const delta of deltas) await admit(tier, delta)
    // Both were written long ago, the second later, but the first has been asked for since, and not for the first time.
    await tier.use(first!)
    utimesSync(fileOf(tier, first!), 1000, 1000)
    utimesSync(fileOf(tier, second!), 2000, 2000)
    await tier.use(first!)
    expect(open(tier.dir).digests()).toEqual([second, first])
  })

  test('removes what interrupted writes left behind and touches nothing complete', async () => {
    const delta = await encodedRandomDelta(base, { seed: 1, rank: 2 })
    const tier = open(freshDir())
    await admit(tier, delta)
    const left = `${fileOf(tier, delta.digest)}.123.abc.writing`
    writeFileSync(left, 'half')
    const longAgoS = Date.now() / 1000 - 3600
    utimesSync(left, longAgoS, longAgoS)
    const again = open(tier.dir)
    expect(readdirSync(again.dir)).toHaveLength(1)
    expect(again.digests()).toEqual([delta.digest])
  })

  test('leaves what another process is writing there', async () => {
    const delta = await encodedRandomDelta(base, { seed: 1, rank: 2 })
    const tier = open(freshDir())
    await admit(tier, delta)
    const writing = `${fileOf(tier, delta.digest)}.123.abc.writing`
    renameSync(fileOf(tier, delta.digest), writing)
    expect(open(tier.dir).count).toBe(0)
    renameSync(writing, fileOf(tier, delta.digest))
    expect(await tier.use(delta.digest)).toEqual({ chatTemplate: undefined })
  })

  test('passes over what another process removes while it is opened', async () => {
    const deltas = await Promise.all([1, 2].map((seed) => encodedRandomDelta(base, { seed, rank: 2 })))
    const tier = open(freshDir())
    for (const delta of deltas) await admit(tier, delta)
    const names = readdirSync(tier.dir, { withFileTypes: true })
    tier.remove(deltas[0]!.digest)
    const list = vi.spyOn(fs, 'readdirSync').mockReturnValueOnce(names as never)
    onTestFinished(() => {
      list.mockRestore()
      syncBuiltinESMExports()
    })
    syncBuiltinESMExports()
    expect(open(tier.dir).digests()).toEqual([deltas[1]!.digest])
    expect(list).toHaveBeenCalledOnce()
  })

  test('passes over what others have put there, and leaves it', async () => {
    const delta = await encodedRandomDelta(base, { seed: 1, rank: 2 })
    const tier = open(freshDir())
    await admit(tier, delta)
    const foreign = ['lost+found', `${'0'.repeat(64)}.delta`, 'notes.txt', 'notes.delta', 'link.delta']
    for (const name of foreign.slice(0, 2)) mkdirSync(join(tier.dir, name))
    for (const name of foreign.slice(2, 4)) writeFileSync(join(tier.dir, name), 'not ours')
    symlinkSync(join(root, 'nowhere'), join(tier.dir, foreign[4]!))
    const again = open(tier.dir)
    expect(again.digests()).toEqual([delta.digest])
    expect(readdirSync(again.dir)).toEqual(expect.arrayContaining(foreign))
  })

  test.each([
    ['empty', (path: string) => truncateSync(path, 0)],
    ['cut short in its header', (path: string) => truncateSync(path, 40)],
    ['cut short in its values', (path: string) => truncateSync(path, statSync(path).size - 4)],
    ['gone', (path: string) => rmSync(path)],
    ['something else', (path: string) => writeFileSync(path, 'x'.repeat(statSync(path).size))],
    [
      'of another digest',
      (path: string) =>
        writeFileSync(
          path,
          readFileSync(path)
            .toString('latin1')
            .replace(/sha256:..../, 'sha256:zzzz'),
          'latin1',
        ),
    ],
  ])('forgets a file that is %s, so that the edge sends it again', async (_, damage) => {
    const delta = await encodedRandomDelta(base, { seed: 1, rank: 2 })
    const tier = open(freshDir())
    await admit(tier, delta)
    damage(fileOf(tier, delta.digest))
    const again = open(tier.dir)
    expect((await refusal(again.use(delta.digest))).code).toBe('adapter_missing')
    expect(again.count).toBe(0)
    expect(existsSync(fileOf(again, delta.digest))).toBe(false)
    await admit(again, delta)
    expect(await again.use(delta.digest)).toEqual({ chatTemplate: undefined })
  })

  test('holds what it says, file by file, while deltas come, are used and are removed at once', async () => {
    const deltas = await Promise.all([1, 2, 3].map((seed) => encodedRandomDelta(base, { seed, rank: 2 })))
    const action = fc.record({ kind: fc.constantFrom('admit', 'use', 'remove'), which: fc.nat(2), after: fc.nat(12) })
    await fc.assert(
      fc.asyncProperty(fc.array(action, { maxLength: 24 }), async (actions) => {
        const tier = open(freshDir())
        const expectNothingElse = () =>
          expect(
            readdirSync(tier.dir)
              .filter((name) => name.endsWith('.delta'))
              .sort(),
          ).toEqual(
            tier
              .digests()
              .map((digest) => basename(fileOf(tier, digest)))
              .sort(),
          )
        await Promise.all(
          actions.map(async ({ kind, which, after }) => {
            for (let turn = 0; turn < after; turn++) await setImmediate()
            const delta = deltas[which]!
            if (kind === 'admit') await admit(tier, delta)
            else if (kind === 'remove') tier.remove(delta.digest)
            else await tier.use(delta.digest).catch((error: BackendError) => expect(error.code).toBe('adapter_missing'))
            expectNothingElse()
          }),
        )
        expect(open(tier.dir).digests().sort()).toEqual(tier.digests().sort())
        await tier.close()
      }),
      { numRuns: 30, seed: 1, endOnFailure: true },
    )
  })
})
