// A row's logits, bit for bit, alone and in crowds that share its delta, have others, or have none, and of several of its
// tokens at once.
import { setImmediate as nextTurn } from 'node:timers/promises'
import { afterAll, describe, expect, test } from 'vitest'
import { RowsApart } from '../../../../gpu-backend/engine/onnx/rows-apart.ts'
import type { PackedDelta } from '../../../../gpu-backend/residency/packed-delta.ts'
import { embeddedRunner } from '../../../support/embedded-runner.ts'
import { encodedRandomDelta } from '../../../support/random-delta.ts'
import { temporaryDir } from '../../../support/temporary-dir.ts'

const ROWS = 9
const PROMPT = Array.from({ length: 12 }, (_, i) => 5 + i)

describe.each(['f32', 'int8', 'int4'] as const)('with %s weights', async (format) => {
  const { runner, base, pack, release } = await embeddedRunner(temporaryDir(), ROWS, format)
  afterAll(release)
  const [wide, narrow, middling, attention, layers, embeddings] = (await Promise.all(
    [
      { seed: 1, rank: 16 },
      { seed: 2, rank: 3 },
      { seed: 4, rank: 12 },
      { seed: 3, rank: 4, modules: (path: string) => /[qv]_proj$/.test(path) },
      { seed: 5, rank: 8, modules: (path: string) => path.startsWith('model.layers.') },
      { seed: 6, rank: 4, modules: (path: string) => path === 'model.embed_tokens' },
    ].map(async (recipe) => pack(await encodedRandomDelta(base, recipe))),
  )) as [PackedDelta, PackedDelta, PackedDelta, PackedDelta, PackedDelta, PackedDelta]

  /** The last row's logits after a prompt and two tokens, in a batch with these deltas. */
  function lastRow(deltas: readonly (PackedDelta | null)[]): Float32Array {
    for (const [row, delta] of deltas.entries()) runner.prefill(row, PROMPT, 0, delta, [PROMPT.length - 1])
    let logits = new Float32Array()
    for (const [i, token] of [7, 11].entries()) {
      const decoded = runner.decode(deltas.map((delta) => ({ token, past: PROMPT.length + i, delta })))
      logits = decoded.logits.slice()
      for (const [row, peak] of decoded.peaks.entries()) {
        expect(peak).toBe(
          logits.subarray(row * base.vocab_size, (row + 1) * base.vocab_size).reduce((x, y) => Math.max(x, y)),
        )
      }
    }
    return logits.subarray((deltas.length - 1) * base.vocab_size)
  }

  test.each([
    ['a wide delta', wide],
    ['a narrow delta', narrow],
    ['a delta between the two', middling],
    ['a delta of attention only', attention],
    ['a delta of all layers', layers],
    ['a delta of the embeddings', embeddings],
    ['the bare base', null],
  ] as const)('%s gives a row the same bits whoever else is in the batch', (_, delta) => {
    const alone = lastRow([delta])
    const crowds = [
      Array.from({ length: ROWS }, () => delta),
      [delta, delta],
      [attention, delta],
      [layers, delta],
      [embeddings, delta],
      [narrow, wide, null, attention, middling, wide, layers, attention, delta],
    ]
    for (const crowd of crowds) expect(lastRow(crowd)).toEqual(alone)
  })

  test.each([
    ['a wide delta', wide],
    ['a delta of attention only', attention],
    ['a delta of all layers', layers],
    ['the bare base', null],
  ] as const)(
    'with %s several tokens at once give the bits of one after another, whatever was tried before',
    (_, delta) => {
      const text = Array.from({ length: 40 }, (_, i) => 5 + ((i * 7) % 60))
      const { vocab_size: vocab } = base
      const start = () => runner.prefill(0, PROMPT, 0, delta, [PROMPT.length - 1])
      start()
      const alone = text.map((token, i) => {
        const { logits, peaks } = runner.decode([{ token, past: PROMPT.length + i, delta }])
        return { logits: logits.slice(), peak: peaks[0] }
      })
      start()
      expect(runner.verifyTokens).toBeGreaterThan(1)
      for (let i = 0; i + runner.verifyTokens <= text.length; ) {
        // Every other time the last two are wrong: what they leave in the cache must not matter.
        const right = i % 2 === 0 ? runner.verifyTokens : runner.verifyTokens - 2
        const tokens = text.slice(i, i + runner.verifyTokens).map((token, index) => (index < right ? token : token + 1))
        const { logits, peaks } = runner.verify(tokens, PROMPT.length + i, delta)
        for (let index = 0; index < right; index++) {
          expect(logits.subarray(index * vocab, (index + 1) * vocab)).toEqual(alone[i + index]!.logits)
          expect(peaks[index]).toBe(alone[i + index]!.peak)
        }
        i += right - 1
        const { logits: next } = runner.decode([{ token: text[i]!, past: PROMPT.length + i, delta }])
        expect(next).toEqual(alone[i]!.logits)
        i++
      }
    },
  )
})

describe.each(['f32', 'int8', 'int4'] as const)('a batch that is computed in halves, with %s weights', (format) => {
  // Halves of 12 and 11.
  const rows = 23

  test('has in every row the bits that it has alone, whoever comes and goes', async () => {
    const { runner, base, pack, release } = await embeddedRunner(temporaryDir(), rows, format)
    try {
      const recipes = [
        { seed: 1, rank: 16 },
        { seed: 2, rank: 3 },
        { seed: 3, rank: 4, modules: (path: string) => /[qv]_proj$/.test(path) },
        { seed: 6, rank: 4, modules: (path: string) => path === 'model.embed_tokens' },
      ]
      const packed = await Promise.all(recipes.map(async (recipe) => pack(await encodedRandomDelta(base, recipe))))
      const kinds = [...packed, null]
      /** What each row says after its own prompt, logits and the largest of them. */
      const said = (batch: readonly { delta: PackedDelta | null; token: number }[]) => {
        for (const [row, { delta }] of batch.entries()) {
          runner.prefill(row, PROMPT.slice(row % 4), 0, delta, [0])
        }
        const { logits, peaks } = runner.decode(
          batch.map(({ delta, token }, row) => ({ token, past: PROMPT.length - (row % 4), delta })),
        )
        const { vocab_size: vocab } = base
        return batch.map((_, row) => [logits.slice(row * vocab, (row + 1) * vocab), peaks[row]] as const)
      }
      const mixed = Array.from({ length: rows }, (_, row) => ({ delta: kinds[row % kinds.length]!, token: 7 + row }))
      const bare = mixed.map(({ token }) => ({ delta: null, token }))
      const shared = mixed.map(({ token }) => ({ delta: packed[0]!, token }))
      // Fewer of them are one batch; the lengths repeat every four rows, so that a row alone can have each.
      for (const batch of [mixed, bare, shared, mixed.slice(0, 20), mixed.slice(0, 9), mixed]) {
        const together = said(batch)
        for (const [row, one] of batch.entries()) {
          const crowd = [...batch.slice(0, row % 4), one]
          expect(together[row]).toEqual(said(crowd).at(-1))
        }
      }
    } finally {
      release()
    }
  })
})

describe.each(['f32', 'int8', 'int4'] as const)(
  'while the graphs that take less time are loaded, with %s weights',
  (format) => {
    const dir = temporaryDir()

    test('steps go on, with the bits that they have afterwards', async () => {
      const { runner, base, pack, release } = await embeddedRunner(dir, ROWS, format, 'whole alone')
      try {
        const recipes = [
          { seed: 1, rank: 16 },
          { seed: 3, rank: 4, modules: (path: string) => /[qv]_proj$/.test(path) },
        ]
        const [wide, attention] = await Promise.all(
          recipes.map(async (recipe) => pack(await encodedRandomDelta(base, recipe))),
        )
        const batches = [[null], [wide!], [attention!], [null, null], [null, wide!], [attention!, null, wide!]]
        /** What a batch says after its prompts, bit for bit. */
        const said = (deltas: readonly (PackedDelta | null)[]) => {
          const prompts = deltas.map((delta, row) =>
            runner.prefill(row, PROMPT, 0, delta, [PROMPT.length - 1]).logits.slice(),
          )
          const { logits } = runner.decode(deltas.map((delta) => ({ token: 7, past: PROMPT.length, delta })))
          return [...prompts, logits.slice()]
        }
        expect(runner.canVerify(null)).toBe(false)
        let loading = true
        const loaded = runner.loadVariants().finally(() => {
          loading = false
        })
        const before = []
        while (loading) {
          before.push(batches.map(said))
          await nextTurn()
        }
        await loaded
        expect([null, wide!, attention!].map((delta) => runner.canVerify(delta))).toEqual([true, true, true])
        const after = batches.map(said)
        expect(before.length).toBeGreaterThan(1)
        for (const one of before) expect(one).toEqual(after)
      } finally {
        release()
      }
    })

    test('nothing more is loaded once nobody wants it', async () => {
      const { runner, release } = await embeddedRunner(dir, ROWS, format, 'whole alone')
      await runner.loadVariants(AbortSignal.abort())
      expect(runner.canVerify(null)).toBe(false)
      release()
    })
  },
)

describe.each(['f32', 'int8', 'int4'] as const)(
  'with little room for the deltas of a batch, and %s weights',
  (format) => {
    test('rows with large ones have the bits that they have alone, and so have the others', async () => {
      // Enough for nine rows of rank 5 or 10, as their A is in floats or bytes.
      const { runner, base, pack, release } = await embeddedRunner(temporaryDir(), ROWS, format, 'all', 8_000_000)
      try {
        const recipes = [
          { seed: 1, rank: 64 },
          { seed: 2, rank: 3 },
          { seed: 4, rank: 200 },
          { seed: 3, rank: 4, modules: (path: string) => /[qv]_proj$/.test(path) },
          {
            seed: 6,
            rank: 40,
            modules: (path: string) => path === 'model.embed_tokens' || path.startsWith('model.layers.'),
          },
        ]
        const deltas = await Promise.all(recipes.map(async (recipe) => pack(await encodedRandomDelta(base, recipe))))
        const apart = new RowsApart(runner.groups, 'f32', 8_000_000)
        const crowd = [deltas[1]!, deltas[0]!, null, deltas[3]!, deltas[2]!, deltas[4]!, deltas[1]!, null, deltas[0]!]
        expect([...apart.of(crowd)].sort()).toEqual([1, 4, 5, 8])
        const said = (rows: readonly (PackedDelta | null)[]) => {
          for (const [row, delta] of rows.entries()) runner.prefill(row, PROMPT, 0, delta, [PROMPT.length - 1])
          return [7, 11, 13].map((token, i) => {
            const decoded = runner.decode(rows.map((delta) => ({ token, past: PROMPT.length + i, delta })))
            const { logits, peaks } = decoded
            return rows.map((_, row) => ({
              logits: logits.slice(row * base.vocab_size, (row + 1) * base.vocab_size),
              peak: peaks[row],
            }))
          })
        }
        const together = said(crowd)
        for (const [row, delta] of crowd.entries()) {
          const alone = said([delta])
          expect(together.map((rows) => rows[row])).toEqual(alone.map(([only]) => only))
        }
      } finally {
        release()
      }
    })
  },
)

test('a batch that there is no memory for leaves those after it with their own deltas', async () => {
  const { runner, base, pack, release } = await embeddedRunner(temporaryDir(), ROWS)
  try {
    const packed = (seed: number) => encodedRandomDelta(base, { seed, rank: 4 }).then(pack)
    const [a, b, p, q] = await Promise.all([1, 2, 3, 4].map(packed))
    const said = (rows: readonly (PackedDelta | null)[]) => {
      for (const [row, delta] of rows.entries()) runner.prefill(row, PROMPT, 0, delta, [PROMPT.length - 1])
      return runner.decode(rows.map((delta) => ({ token: 7, past: PROMPT.length, delta }))).logits.slice()
    }
    const alone = [p!, q!].flatMap((delta) => [...said([delta])])
    said([a!, b!])
    // All groups but the last fit, in stacks of their own size.
    const wide = await encodedRandomDelta(base, { seed: 5, rank: 16 }).then(pack)
    const groups = wide.groups.map((group, i) => (i === wide.groups.length - 1 ? { ...group, rank: 2 ** 30 } : group))
    const crowd = [a!, { ...wide, groups }, b!].map((delta) => ({ token: 7, past: PROMPT.length, delta }))
    expect(() => runner.decode(crowd)).toThrow(RangeError)
    expect([...said([p!, q!])]).toEqual(alone)
  } finally {
    release()
  }
})
