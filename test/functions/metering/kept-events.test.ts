import { setImmediate } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { KeptEvents } from '../../../functions/metering/kept-events.ts'
import type { GenerateEvent } from '../../../gpu-backend/protocol.ts'
import { collectGarbage } from '../../support/collect-garbage.ts'

/** A token with its alternatives: a few hundred characters of JSON. */
function token(index: number): GenerateEvent {
  const likely = Array.from({ length: 5 }, (_, id) => ({ token: `token ${id}`, id, logprob: -id / 7 }))
  const logprobs = [{ ...likely[0]!, top: likely }]
  return { event: 'text', index, text: 'token 0', tokens: 1, logprobs }
}

test('an answer that has grown too large to be stored is let go before it ends', async () => {
  const kept = new KeptEvents()
  const events = [token(0)]
  const first = new WeakRef(events[0]!)
  kept.add(events.pop()!)
  expect(kept.answer()).toEqual([token(0)])
  for (let i = 0; i < 10_000; i++) kept.add(token(0))
  // What has been looked at in a turn of the event loop is kept until its end.
  await setImmediate()
  collectGarbage()
  expect(first.deref()).toBeUndefined()
  expect(kept.answer()).toBe('too_large')
})

test('texts that follow each other are one, as long as they are of one choice', () => {
  const kept = new KeptEvents()
  for (const [index, text] of [
    [0, 'a'],
    [0, 'b'],
    [1, 'c'],
    [0, 'd'],
  ] as const) {
    kept.add({ event: 'text', index, text, tokens: 1 })
  }
  expect(kept.answer()).toEqual([
    { event: 'text', index: 0, text: 'ab', tokens: 2 },
    { event: 'text', index: 1, text: 'c', tokens: 1 },
    { event: 'text', index: 0, text: 'd', tokens: 1 },
  ])
})
