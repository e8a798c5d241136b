import { join } from 'node:path'
import { expect, test } from 'vitest'
import { ask, body } from '../../../support/ask.ts'
import { encodedRandomDelta } from '../../../support/random-delta.ts'
import { tinyEngines } from '../../../support/tiny-engine.ts'
import { writeTinyModel } from '../../../support/tiny-model.ts'

const RANK = 64
/** Of one rank of q, k and v of both layers. */
const VALUES = 2 * (3 * 64 + 64 + 32 + 32)
const ROOM = 2
/** Of the memory that an engine may use, deltas have a quarter. */
const DELTAS_SHARE = 4

const engines = tinyEngines()

test('a tenant whose delta has to be loaded gets its turn while two others keep the memory full', async () => {
  const engine = await engines.start({
    modelPath: writeTinyModel(join(engines.root, 'tiny')),
    dataDir: join(engines.root, 'data'),
    memoryBytes: DELTAS_SHARE * ROOM * RANK * VALUES * Float32Array.BYTES_PER_ELEMENT,
    maxBatch: 2,
    maxQueue: 100,
    contextTokens: 64,
  })
  const digests = await Promise.all(
    [0, 1, 2].map(async (seed) => {
      const modules = (path: string) => /[qkv]_proj$/.test(path)
      const { digest, bytes } = await encodedRandomDelta(engine.info.base, { seed, rank: RANK, modules, strength: 2 })
      await engine.admit(digest, body(bytes), 1e9)
      return digest
    }),
  )
  const answer = (tenant: number) =>
    ask(engine, { delta: digests[tenant]!, prompt: 'Question', tenant: `t${tenant}`, sampling: { max_tokens: 16 } })
  let isServed = false
  const busy = [0, 0, 0, 0, 1, 1, 1, 1].map(async (tenant) => {
    while (!isServed) await answer(tenant)
  })
  await Promise.all([0, 1].map(answer))
  // Would never end: the others only stop after it.
  expect((await answer(2)).text).not.toBe('')
  isServed = true
  await Promise.all(busy)
}, 60_000)
