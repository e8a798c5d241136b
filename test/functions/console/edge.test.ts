import { expect, test } from 'vitest'
import { callEdge, EdgeError } from '../../../functions/console/api/edge.ts'
import { expectOneSentence } from '../../support/one-sentence.ts'

test.each(['“dev-demo”', 'dev\ndemo'])('a key that no header can carry is refused in a sentence: %j', async (key) => {
  const refusal = await callEdge(key, '/v1/key').catch((error: unknown) => error)
  expect(refusal).toBeInstanceOf(EdgeError)
  expectOneSentence((refusal as EdgeError).message)
})
