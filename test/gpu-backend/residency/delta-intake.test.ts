import { once } from 'node:events'
import type { Worker } from 'node:worker_threads'
import { afterAll, describe, expect, test } from 'vitest'
import { BackendError } from '../../../gpu-backend/errors.ts'
import { withSmoothing } from '../../../gpu-backend/model/projection-groups.ts'
import { DeltaIntake } from '../../../gpu-backend/residency/delta-intake.ts'
import type { CheckedFile, PackedFile } from '../../../gpu-backend/residency/intake-thread.ts'
import { packDelta } from '../../../gpu-backend/residency/packed-delta.ts'
import { body } from '../../support/ask.ts'
import { expectOneSentence } from '../../support/one-sentence.ts'
import { projectionGroupsOf } from '../../support/projection-groups.ts'
import { type EncodedDelta, encodedRandomDelta } from '../../support/random-delta.ts'
import { tinyBase } from '../../support/tiny-base.ts'

const base = tinyBase('gqa')
const groups = projectionGroupsOf(base)
const WRONG = `sha256:${'0'.repeat(64)}`
const opened: { close(): Promise<void> }[] = []
const deltas = await Promise.all(
  [1, 2, 3].map((seed) => encodedRandomDelta(base, { seed, rank: 3, chatTemplate: 'x' })),
)

afterAll(() => Promise.all(opened.map((intake) => intake.close())))

/** An intake, what it had kept, and how many were being kept at once at most. */
function openFiles(until: () => Promise<void> = async () => {}) {
  const kept = new Map<string, CheckedFile>()
  const at = { once: 0, most: 0 }
  const intake = DeltaIntake.ofFiles(base, {
    has: (digest) => kept.has(digest),
    async keep(digest, delta) {
      at.most = Math.max(at.most, ++at.once)
      await until()
      at.once--
      kept.set(digest, delta)
    },
  })
  opened.push(intake)
  const take = ({ digest, bytes }: Pick<EncodedDelta, 'digest' | 'bytes'>) =>
    intake.take(digest, body(bytes), 1e9, { maxRank: 16 })
  return { intake, kept, take, at }
}

async function refusal(action: Promise<unknown>): Promise<BackendError> {
  const error = await action.catch((reason: unknown) => reason)
  if (!(error instanceof BackendError)) throw error ?? new Error('was accepted')
  expectOneSentence(error.message)
  return error
}

describe('taking in a delta', () => {
  test('gives back the file as it came, with what it changes', async () => {
    const { kept, take } = openFiles()
    const [one] = deltas
    await take(one!)
    const { bytes, ranks, chatTemplate } = kept.get(one!.digest)!
    expect(bytes).toEqual(one!.bytes)
    expect(ranks).toEqual(new Map(Array.from(one!.delta.modules, ([path, { rank }]) => [path, rank])))
    expect(chatTemplate).toBe('x')
  })

  test('packs for the graph as is packed here, the smoothing of its inputs included', async () => {
    const rounded = withSmoothing(groups, (group) => new Float32Array(group.in).fill(2))
    for (const wanted of [groups, rounded]) {
      const kept: PackedFile[] = []
      const intake = DeltaIntake.packing(base, wanted, {
        has: () => false,
        keep: async (_, delta) => void kept.push(delta),
      })
      opened.push(intake)
      const { digest, bytes, delta } = deltas[0]!
      await intake.take(digest, body(bytes), 1e9, { maxRank: 16 })
      expect(kept).toEqual([{ chatTemplate: 'x', ...packDelta(digest, delta, wanted, base) }])
    }
  })

  test('lets the thread that asks go on meanwhile', async () => {
    const { take } = openFiles()
    let turned = false
    setImmediate(() => {
      turned = true
    })
    // Refused, so that nothing is kept, which would take turns too.
    expect((await refusal(take({ digest: WRONG, bytes: deltas[0]!.bytes }))).code).toBe('digest_mismatch')
    expect(turned).toBe(true)
  })

  test('is done for one at a time, until it is kept', async () => {
    const keeping = Promise.withResolvers<void>()
    const gate = Promise.withResolvers<void>()
    const { take, kept, at } = openFiles(() => {
      keeping.resolve()
      return gate.promise
    })
    const all = Promise.all(deltas.map(take))
    await keeping.promise
    expect(kept.size).toBe(0)
    gate.resolve()
    await all
    expect([...kept.keys()].sort()).toEqual(deltas.map(({ digest }) => digest).sort())
    expect(at.most).toBe(1)
  })

  test('looks at the digest alone where the delta is kept already', async () => {
    const { take, kept } = openFiles()
    const [one] = deltas
    await Promise.all([take(one!), take(one!)])
    const first = kept.get(one!.digest)
    await take(one!)
    expect(kept.get(one!.digest)).toBe(first)
    const error = await refusal(take({ digest: one!.digest, bytes: one!.bytes.slice(1) }))
    expect(error.code).toBe('digest_mismatch')
  })

  test('fails where its thread ends, in one sentence, and goes on with the next in another', async () => {
    const { take, kept } = openFiles()
    const started = once(process, 'worker')
    const [failed, next] = [refusal(take(deltas[0]!)), take(deltas[1]!)]
    const [thread] = (await started) as [Worker]
    // It has not started yet, much less answered.
    await thread.terminate()
    expect((await failed).code).toBe('unavailable')
    await next
    expect([...kept.keys()]).toEqual([deltas[1]!.digest])
    await take(deltas[0]!)
    expect(kept.size).toBe(2)
  })

  test('is refused from the moment when it is closed, what waits included', async () => {
    const { intake, take, kept } = openFiles()
    const pending = deltas.map((delta) => refusal(take(delta)))
    await intake.close()
    for (const error of await Promise.all(pending)) expect(error.code).toBe('unavailable')
    expect((await refusal(take(deltas[0]!))).code).toBe('unavailable')
    expect(kept.size).toBe(0)
  })
})
