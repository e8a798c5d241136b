import { readdirSync, readFileSync, renameSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { readDeltaFile, readDeltaHeader, writeDeltaFile } from '../../../gpu-backend/residency/delta-file.ts'
import { packDelta, viewPacked } from '../../../gpu-backend/residency/packed-delta.ts'
import { mutate } from '../../support/mutate.ts'
import { projectionGroupsOf } from '../../support/projection-groups.ts'
import { randomDelta } from '../../support/random-delta.ts'
import { seededRandom } from '../../support/seeded-random.ts'
import { temporaryDir } from '../../support/temporary-dir.ts'
import { tinyBase } from '../../support/tiny-base.ts'

const base = tinyBase('gqa')
const groups = projectionGroupsOf(base)
const dir = temporaryDir()
const digest = `sha256:${'1'.repeat(64)}`
const HEADER_BYTES = 400

async function write(name: string, chatTemplate?: string) {
  const { shape, values } = packDelta(
    digest,
    randomDelta(base, { seed: 1, rank: 3, modules: () => true }),
    groups,
    base,
  )
  const path = join(dir, name)
  const content = { digest, base: base.fingerprint, layout: 'floats', shape, values, chatTemplate }
  const written = await writeDeltaFile(path, content)
  expect(statSync(written.temporary).size).toBe(written.bytes)
  renameSync(written.temporary, path)
  return { path, packed: viewPacked(digest, shape, groups, base, values) }
}

describe("a delta's file on disk", () => {
  test.each([
    ['without a chat template', undefined],
    ['with a chat template', '{{ messages }}'],
    ['with a chat template of many pages and scripts', 'ä漢🙂'.repeat(5000)],
  ])('gives back what was written, %s', async (_, chatTemplate) => {
    const { path, packed } = await write('round-trip', chatTemplate)
    expect(await readDeltaFile(path, groups, base)).toEqual(packed)
    expect(await readDeltaHeader(path, groups, base)).toMatchObject({
      digest,
      base: base.fingerprint,
      layout: 'floats',
      embeddingRank: 3,
    })
    expect((await readDeltaHeader(path, groups, base)).chatTemplate).toBe(chatTemplate)
  })

  test('leaves nothing else behind', async () => {
    const before = readdirSync(dir).length
    await write('alone')
    expect(readdirSync(dir)).toHaveLength(before + 1)
    await expect(write('no/such/directory/file')).rejects.toThrow('ENOENT')
    expect(readdirSync(dir)).toHaveLength(before + 1)
  })

  test('that was cut short anywhere is refused', async () => {
    const { path } = await write('whole')
    const bytes = readFileSync(path)
    const cut = join(dir, 'cut')
    for (const length of [0, 3, 8, 20, 4095, 4096, 5000, bytes.length - 1]) {
      writeFileSync(cut, bytes.subarray(0, length))
      await expect(readDeltaFile(cut, groups, base)).rejects.toThrow(/damaged|JSON/)
    }
  })

  test('that was damaged at random is read or refused, and nothing else happens', async () => {
    const { path } = await write('damaged')
    const bytes = readFileSync(path)
    const random = seededRandom(5)
    for (let round = 0; round < 300; round++) {
      writeFileSync(path, mutate(bytes, random, HEADER_BYTES))
      await readDeltaFile(path, groups, base).catch((error: unknown) => expect(error).toBeInstanceOf(Error))
    }
  })
})
