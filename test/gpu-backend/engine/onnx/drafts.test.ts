import { expect, test } from 'vitest'
import { Drafts } from '../../../../gpu-backend/engine/onnx/drafts.ts'
import { newSequence } from '../../../../gpu-backend/scheduler/sequence.ts'
import { sequenceRequest } from '../../../support/sequence-request.ts'

const CONTEXT = 64

/** A sequence whose text repeats itself, in the middle of its answer. */
function repeating(fields: { maxTokens?: number; numComputedTokens?: number } = {}) {
  const { maxTokens = 40, numComputedTokens = 6 } = fields
  const sequence = newSequence(sequenceRequest({ id: 1, maxTokens }))
  sequence.outputTokens.push(7, 8, 7, 8)
  sequence.numComputedTokens = numComputedTokens
  return sequence
}

test('tokens are tried that the text itself suggests, and no more than have a place in the row', () => {
  const drafts = new Drafts(3, CONTEXT)
  expect(drafts.propose(repeating())).toEqual([7, 8, 7])
  // The newest token and three more.
  expect(drafts.propose(repeating({ numComputedTokens: CONTEXT - 4 }))).toEqual([7, 8, 7])
  expect(drafts.propose(repeating({ numComputedTokens: CONTEXT - 3 }))).toBeUndefined()
})

test('nothing is tried for the last token of an answer', () => {
  const drafts = new Drafts(3, CONTEXT)
  expect(drafts.propose(repeating({ maxTokens: 6 }))).toEqual([7, 8, 7])
  expect(drafts.propose(repeating({ maxTokens: 5 }))).toBeUndefined()
})

test('a sequence whose drafts are wrong is left alone but for one in fifteen, and comes back when they are right', () => {
  const drafts = new Drafts(3, CONTEXT)
  const sequence = repeating()
  const tried = (steps: number, accepted: number) =>
    Array.from({ length: steps }, () => {
      const draft = drafts.propose(sequence)
      if (draft) drafts.noteAccepted(sequence, accepted)
      return draft !== undefined
    }).filter(Boolean).length
  expect(tried(100, 0)).toBeLessThan(3 + 100 / 14)
  expect(tried(100, 0)).toBeGreaterThan(5)
  expect(tried(16, 3)).toBeGreaterThan(0)
  expect(tried(20, 3)).toBe(20)
  // What was won long ago counts no more.
  expect(tried(20, 0)).toBeLessThan(12)
  // Another sequence has lost nothing.
  expect(drafts.propose(repeating())).toBeDefined()
})

test('what was said before is tried from the first token of an answer on, until its delta is forgotten', () => {
  const drafts = new Drafts(3, CONTEXT)
  const answer = (...tokens: number[]) => {
    const sequence = newSequence(sequenceRequest({ id: 1, digest: 'sha256:a', maxTokens: 40 }))
    sequence.outputTokens.push(...tokens)
    return sequence
  }
  expect(drafts.propose(answer(7))).toBeUndefined()
  drafts.noteEnd(answer(7, 8, 9, 10, 11, 12))
  expect(drafts.propose(answer(7))).toEqual([8, 9, 10])
  expect(drafts.propose(answer(5, 8, 9))).toEqual([10, 11, 12])
  // The sequence's own text comes first.
  expect(drafts.propose(answer(8, 9, 20, 21, 8, 9))).toEqual([20, 21, 8])
  drafts.forget('sha256:a')
  expect(drafts.propose(answer(7))).toBeUndefined()
})
