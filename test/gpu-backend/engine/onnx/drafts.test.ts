import { expect, test } from 'vitest'
import { Drafts } from '../../../../gpu-backend/engine/onnx/drafts.ts'
import { newSequence } from '../../../../gpu-backend/scheduler/sequence.ts'
import { sequenceRequest } from '../../../support/sequence-request.ts'

const CONTEXT = 64

/** A sequence whose text repeats itself, in the middle of its answer. */
function repeating(fields: { text?: number[]; maxTokens?: number; numComputedTokens?: number } = {}) {
  const { text = [7, 8, 9, 10, 7, 8, 9, 10], maxTokens = 40, numComputedTokens = 6 } = fields
  const sequence = newSequence(sequenceRequest({ id: 1, maxTokens }))
  sequence.outputTokens.push(...text)
  sequence.numComputedTokens = numComputedTokens
  return sequence
}

test('tokens are tried that the text itself suggests, and no more than have a place in the row', () => {
  const drafts = new Drafts(3, CONTEXT)
  expect(drafts.propose(repeating())).toEqual([7, 8, 9])
  // The newest token and three more.
  expect(drafts.propose(repeating({ numComputedTokens: CONTEXT - 4 }))).toEqual([7, 8, 9])
  expect(drafts.propose(repeating({ numComputedTokens: CONTEXT - 3 }))).toBeUndefined()
})

test('nothing is tried for the last token of an answer', () => {
  const drafts = new Drafts(3, CONTEXT)
  expect(drafts.propose(repeating({ maxTokens: 10 }))).toEqual([7, 8, 9])
  expect(drafts.propose(repeating({ maxTokens: 9 }))).toBeUndefined()
})

test('the more of the newest tokens were found before a draft, the more of it may be wrong until the sequence is left alone', () => {
  const drafts = new Drafts(3, CONTEXT)
  const tries = (text: number[]) => {
    const sequence = repeating({ text: [...text, 20, ...text] })
    let count = 0
    while (count < 20 && drafts.propose(sequence)) {
      drafts.noteAccepted(sequence, 0)
      count++
    }
    return count
  }
  expect([[1], [1, 2], [1, 2, 3], [1, 2, 3, 4], [1, 2, 3, 4, 5], [1, 2, 3, 4, 5, 6]].map(tries)).toEqual([
    0, 0, 0, 1, 2, 4,
  ])
})

test('a sequence whose drafts are wrong is tried again now and then, and comes back when they are right', () => {
  const drafts = new Drafts(3, CONTEXT)
  const sequence = repeating({ text: Array(12).fill(7) })
  const tried = (steps: number, accepted: number) =>
    Array.from({ length: steps }, () => {
      const draft = drafts.propose(sequence)
      if (draft) drafts.noteAccepted(sequence, accepted)
      return draft !== undefined
    }).filter(Boolean).length
  expect(tried(100, 0)).toBeLessThan(4 + 100 / 20)
  expect(tried(100, 0)).toBeGreaterThan(1)
  expect(tried(50, 3)).toBeGreaterThan(0)
  expect(tried(20, 3)).toBe(20)
  // What was won long ago counts no more.
  expect(tried(40, 0)).toBeLessThan(20)
  // Another sequence has lost nothing.
  expect(drafts.propose(repeating())).toBeDefined()
})

test('where a sequence has been right, a draft is tried that fewer tokens speak for', () => {
  const drafts = new Drafts(3, CONTEXT)
  const sequence = repeating({ text: [7, 8, 9, 7, 8] })
  expect(drafts.propose(sequence)).toBeUndefined()
  drafts.noteAccepted(sequence, 3)
  expect(drafts.propose(sequence)).toEqual([9, 7, 8])
})

test('what was said before is tried from the first token of an answer on, until its delta is forgotten', () => {
  const drafts = new Drafts(3, CONTEXT)
  const answer = (...tokens: number[]) => {
    const sequence = newSequence(sequenceRequest({ id: 1, digest: 'sha256:a', maxTokens: 40 }))
    sequence.outputTokens.push(...tokens)
    return sequence
  }
  expect(drafts.propose(answer(7))).toBeUndefined()
  drafts.noteEnd(answer(7, 8, 9, 10, 11, 12, 13, 14))
  expect(drafts.propose(answer(7))).toEqual([8, 9, 10])
  expect(drafts.propose(answer(5, 8, 9, 10, 11))).toEqual([12, 13, 14])
  // What more of the newest tokens speak for, and of as many the sequence's own text.
  expect(drafts.propose(answer(10, 11, 20, 8, 9, 10, 11))).toEqual([12, 13, 14])
  expect(drafts.propose(answer(8, 9, 10, 11, 20, 21, 8, 9, 10, 11))).toEqual([20, 21, 8])
  drafts.forget('sha256:a')
  expect(drafts.propose(answer(7))).toBeUndefined()
})
