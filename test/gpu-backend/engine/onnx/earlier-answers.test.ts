import { expect, test } from 'vitest'
import { EarlierAnswers } from '../../../../gpu-backend/engine/onnx/earlier-answers.ts'
import { newSequence, type SequenceRequest } from '../../../../gpu-backend/scheduler/sequence.ts'
import { sequenceRequest } from '../../../support/sequence-request.ts'

/** A sequence that has answered with `output`. */
function answered(output: readonly number[], fields: Partial<SequenceRequest> = {}) {
  const sequence = newSequence(sequenceRequest({ id: 1, digest: 'sha256:a', ...fields }))
  sequence.outputTokens.push(...output)
  return sequence
}

const asking = (fields: Partial<SequenceRequest> = {}) => answered([], fields)

test('answers are kept behind the ends of their prompts, one after another, for the same tenant and delta alone', () => {
  const earlier = new EarlierAnswers(2)
  earlier.add(answered([7, 8]))
  earlier.add(answered([9], { promptTokens: Int32Array.of(6) }))
  expect([...earlier.of(asking())]).toEqual([2, 3, 7, 8, 6, 9])
  for (const fields of [{ tenant: 'bravo' }, { digest: 'sha256:b' }, { digest: null }]) {
    expect([...earlier.of(asking(fields))]).toEqual([])
  }
})

test('what a delta has said is forgotten with it, whoever asked, and nothing else', () => {
  const earlier = new EarlierAnswers(1)
  const tenants = ['acme', 'bravo', 'acme"\nsha256:a']
  for (const tenant of tenants) {
    for (const digest of ['sha256:a', 'sha256:b', null]) earlier.add(answered([7], { tenant, digest }))
  }
  earlier.forget('sha256:a')
  for (const tenant of tenants) {
    expect([...earlier.of(asking({ tenant }))]).toEqual([])
    for (const digest of ['sha256:b', null]) expect([...earlier.of(asking({ tenant, digest }))]).toEqual([3, 7])
  }
})

test('the newest 4,096 tokens are kept, of the 256 that were used last', () => {
  const earlier = new EarlierAnswers(1)
  earlier.add(answered([1, ...Array.from({ length: 4000 }, () => 2)]))
  earlier.add(answered(Array.from({ length: 95 }, () => 4)))
  const kept = earlier.of(asking())
  expect(kept).toHaveLength(4096)
  expect([kept[0], kept.at(-1)]).toEqual([2, 4])
  for (let i = 0; i < 255; i++) earlier.add(answered([4], { tenant: `tenant ${i}` }))
  // Used: the next to go is another.
  expect(earlier.of(asking())).toHaveLength(4096)
  earlier.add(answered([4], { tenant: 'one more' }))
  expect(earlier.of(asking())).toHaveLength(4096)
  expect(earlier.of(asking({ tenant: 'tenant 0' }))).toHaveLength(0)
  expect(earlier.of(asking({ tenant: 'tenant 1' }))).toHaveLength(2)
})
