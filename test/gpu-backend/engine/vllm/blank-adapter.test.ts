import { readdirSync, readFileSync, statSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { blankAdapter } from '../../../../gpu-backend/engine/vllm/blank-adapter.ts'
import { temporaryDir } from '../../../support/temporary-dir.ts'
import { tinyBase } from '../../../support/tiny-base.ts'

const BASE = tinyBase('gqa')
const MODULE = 'model.layers.0.self_attn.q_proj'
const WEIGHTS = 'adapter_model.safetensors'

test('several that make the same blank adapter at once leave one, whole whenever it is read', async () => {
  const dir = temporaryDir()
  const path = join(dir, 'blank')
  const sizes = new Set<number>()
  let isMade = false
  const reads = (async () => {
    while (!isMade) {
      const bytes = await readFile(join(path, WEIGHTS)).catch(() => undefined)
      if (bytes) sizes.add(bytes.length)
      else await new Promise(setImmediate)
    }
  })()
  for (let round = 0; round < 20; round++) {
    await Promise.all(Array.from({ length: 4 }, () => blankAdapter(path, BASE, MODULE, 64)))
  }
  isMade = true
  await reads
  expect(sizes).toEqual(new Set([statSync(join(path, WEIGHTS)).size]))
  expect(readdirSync(dir)).toEqual(['blank'])
})

test('a blank adapter that stands already is not written to: a server may have its file mapped', async () => {
  const path = join(temporaryDir(), 'blank')
  await blankAdapter(path, BASE, MODULE, 4)
  const [before, bytes] = [statSync(join(path, WEIGHTS)), readFileSync(join(path, WEIGHTS))]
  await blankAdapter(path, BASE, MODULE, 8)
  const after = statSync(join(path, WEIGHTS))
  expect([after.ino, after.mtimeMs]).toEqual([before.ino, before.mtimeMs])
  expect(readFileSync(join(path, WEIGHTS)).equals(bytes)).toBe(true)
})
