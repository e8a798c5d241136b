// A tokenizer may know more tokens than its model has embeddings for: such a token in a prompt must not reach the graph.
import { expect, test } from 'vitest'
import { BackendError } from '../../../gpu-backend/errors.ts'
import { Tokenizer } from '../../../gpu-backend/model/tokenizer.ts'
import { expectOneSentence } from '../../support/one-sentence.ts'
import { embeddedTokenizerFiles } from '../../support/tiny-model.ts'

const files = embeddedTokenizerFiles()
const ids = new Tokenizer(files).encode('hello there')
const largest = Math.max(...ids)

function refusal(encode: () => unknown): string {
  try {
    encode()
  } catch (error) {
    if (!(error instanceof BackendError)) throw error
    expect(error.code).toBe('bad_request')
    expectOneSentence(error.message)
    return error.message
  }
  throw new Error('was accepted')
}

test('a token beyond the vocabulary is a bad request that names it, in prompts and in conversations', () => {
  const small = new Tokenizer(files, largest)
  expect(refusal(() => small.encode('hello there'))).toContain(`(token ${largest})`)
  expect(refusal(() => small.encodeChat([{ role: 'user', content: 'hello there' }]))).toContain('no embedding')
})

test('every token within the vocabulary is accepted', () => {
  expect(new Tokenizer(files, largest + 1).encode('hello there')).toEqual(ids)
})
