import { mkdtempSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { ask, body } from '../../../support/ask.ts'
import { encodedRandomDelta } from '../../../support/random-delta.ts'
import { tinyEngines } from '../../../support/tiny-engine.ts'
import { writeTinyModel } from '../../../support/tiny-model.ts'

const RANK = 128
const ROWS = 2
/** Of one rank of q, k and v of both layers. */
const VALUES = 2 * (3 * 64 + 64 + 32 + 32)
/** Tokens of the answers that a busy tenant asks for at once. */
const LENGTHS = [100, 140, 180, 220]
/** Answers of others before its turn: so many even where the disk is slow. */
const FEW = 20
/** Of the memory that an engine may use, deltas have a quarter. */
const DELTAS_SHARE = 4

const engines = tinyEngines()

/**
 * Answers one tenant more than `busy`, of which each asks four times at once for as long as that one waits, with room in memory
 * for as many deltas as there are of these. Returns how many answers these have had meanwhile.
 */
async function answersBefore(busy: number): Promise<number> {
  const engine = await engines.start({
    modelPath: writeTinyModel(mkdtempSync(join(engines.root, 'tiny-'))),
    memoryBytes: DELTAS_SHARE * busy * RANK * VALUES * Float32Array.BYTES_PER_ELEMENT,
    maxBatch: ROWS,
    maxQueue: 100,
    contextTokens: 256,
  })
  expect(engine.info.max_batch).toBe(ROWS)
  const digests = await Promise.all(
    Array.from({ length: busy + 1 }, async (_, seed) => {
      const modules = (path: string) => /[qkv]_proj$/.test(path)
      const { digest, bytes } = await encodedRandomDelta(engine.info.base, { seed, rank: RANK, modules, strength: 2 })
      await engine.admit(digest, body(bytes), 1e9)
      return digest
    }),
  )
  const answer = (tenant: number, max_tokens = 16) =>
    ask(engine, { delta: digests[tenant]!, prompt: 'Question', tenant: `t${tenant}`, sampling: { max_tokens } })
  const tenants = Array.from({ length: busy }, (_, tenant) => tenant)
  let isServed = false
  let others = 0
  const asking = tenants.flatMap((tenant) =>
    // Apart from each other, so that a delta is read between the end of one answer and that of the next.
    LENGTHS.map(async (tokens) => {
      while (!isServed) {
        await answer(tenant, tokens)
        others++
      }
    }),
  )
  await Promise.all(tenants.map((tenant) => answer(tenant)))
  const before = others
  const { text } = await answer(busy)
  const meanwhile = others - before
  isServed = true
  await Promise.all(asking)
  expect(text).not.toBe('')
  return meanwhile
}

test.each([1, 2])(
  'a tenant whose delta has to be loaded gets its turn while the memory is kept full by others: %i',
  async (busy) => {
    expect(await answersBefore(busy)).toBeLessThan(FEW)
  },
  60_000,
)
