// A normal day, with small deltas: ten thousand adapters on disk, room in memory for 64 of them, sixteen in the batch,
// and forty tenants who all ask at once.
import { join } from 'node:path'
import { expect, test } from 'vitest'
import type { Engine } from '../../../../gpu-backend/engine/engine.ts'
import { ask, body } from '../../../support/ask.ts'
import { encodedRandomDelta } from '../../../support/random-delta.ts'
import { seededRandom } from '../../../support/seeded-random.ts'
import { tinyEngines } from '../../../support/tiny-engine.ts'
import { writeTinyModel } from '../../../support/tiny-model.ts'

const ADAPTERS = 10_000
const IN_MEMORY = 64
const ROWS = 16
const TENANTS = 40
const REQUESTS_OF_EACH = 15
/** One prompt is begun in a step, so that answers this long fill the batch. */
const TOKENS = 24
/** Whole vectors, so that nothing is padded. */
const RANK = 8
/** f32 values of one delta for each rank: q, k and v of two layers have an A and a B each. */
const VALUES_PER_RANK = 2 * (3 * 64 + 64 + 32 + 32)
/** A quarter of the memory is for deltas. */
const MEMORY_BYTES = 4 * IN_MEMORY * RANK * VALUES_PER_RANK * 4
/**
 * Requests that a tenant may be ahead of another: its deltas may be in memory while the other's are read, which takes as long
 * as the disk likes. One that starved would be behind by all fifteen.
 */
const AHEAD = 10

const engines = tinyEngines()
const options = {
  modelPath: writeTinyModel(join(engines.root, 'tiny')),
  dataDir: join(engines.root, 'data'),
  memoryBytes: MEMORY_BYTES,
  maxBatch: ROWS,
  maxQueue: TENANTS * REQUESTS_OF_EACH,
  contextTokens: 64,
}

async function admitMany(engine: Engine): Promise<string[]> {
  const digests: string[] = []
  for (let seed = 0; seed < ADAPTERS; seed++) {
    const recipe = { seed, rank: RANK, modules: (path: string) => /[qkv]_proj$/.test(path), strength: 2 }
    const { digest, bytes } = await encodedRandomDelta(engine.info.base, recipe)
    await engine.admit(digest, body(bytes), 1e9)
    digests.push(digest)
  }
  return digests
}

test(
  'ten thousand adapters on disk, 64 in memory, 16 in the batch: all are served, in turn, each as if it were alone',
  async () => {
    const first = await engines.start(options)
    const digests = await admitMany(first)
    await first.close()

    const engine = await engines.start(options)
    expect(engine.info.max_batch).toBe(ROWS)
    expect((await engine.stats()).diskDeltas).toBe(ADAPTERS)

    const random = seededRandom(7)
    const started: { tenant: number; turn: number }[] = []
    const requests = Array.from({ length: TENANTS * REQUESTS_OF_EACH }, (_, i) => {
      // A few adapters are asked for all the time and most hardly ever.
      const delta = digests[Math.floor(ADAPTERS * random() ** 4)]!
      return { tenant: i % TENANTS, turn: Math.floor(i / TENANTS), delta, prompt: `Question ${i % 7}` }
    })
    const answers = await Promise.all(
      requests.map(({ tenant, turn, delta, prompt }) =>
        ask(engine, { delta, prompt, tenant: `tenant-${tenant}`, sampling: { max_tokens: TOKENS } }, ({ event }) => {
          if (event === 'started') started.push({ tenant, turn })
        }),
      ),
    )

    const stats = await engine.stats()
    expect(stats).toMatchObject({ running: 0, waiting: 0, hostDeltas: IN_MEMORY, diskDeltas: ADAPTERS })
    expect(stats.deltaEvictions).toBe(stats.deltaLoads - IN_MEMORY)
    expect(Math.max(...answers.map(({ batch }) => batch!.rows))).toBe(ROWS)
    expect(Math.max(...answers.map(({ batch }) => batch!.deltas))).toBeGreaterThan(ROWS / 2)

    const turns = new Array<number>(TENANTS).fill(0)
    for (const { tenant, turn } of started) {
      expect(turn).toBe(turns[tenant])
      turns[tenant]!++
      expect(turns[tenant]).toBeLessThanOrEqual(Math.min(...turns) + AHEAD)
    }
    expect(turns).toEqual(new Array(TENANTS).fill(REQUESTS_OF_EACH))

    for (const [i, { delta, prompt }] of requests.entries()) {
      if (i % 20 > 0) continue
      const alone = await ask(engine, { delta, prompt, tenant: 'alone', sampling: { max_tokens: TOKENS } })
      expect(answers[i]!.tokens).toEqual(alone.tokens)
    }
  },
  15 * 60_000,
)
