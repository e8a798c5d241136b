import { expect, test } from 'vitest'
import { newDraft, readDraft } from '../../../functions/console/ui/draft.ts'

const DRAFT = { ...newDraft(32), question: 'Open?' }

test('a conversation has messages, a bare prompt a prompt, and never both', () => {
  const sampling = { temperature: 0, max_tokens: 32 }
  expect(readDraft({ ...DRAFT, system: 'Be brief.' })).toStrictEqual({
    messages: [
      { role: 'system', content: 'Be brief.' },
      { role: 'user', content: 'Open?' },
    ],
    sampling,
  })
  expect(readDraft({ ...DRAFT, kind: 'prompt', system: 'Be brief.' })).toStrictEqual({ prompt: 'Open?', sampling })
})

test('further fields go along as they are, and before the page’s own', () => {
  const fields = '{"temperature": 1.5, "stop": ["\\n"], "seed": 7}'
  expect(readDraft({ ...DRAFT, fields })?.sampling).toEqual({
    temperature: 1.5,
    max_tokens: 32,
    stop: ['\n'],
    seed: 7,
  })
})

test('a setting that is left empty is not asked for', () => {
  expect(readDraft({ ...DRAFT, temperature: '', maxTokens: '' })?.sampling).toEqual({})
})

test.each(['{', '[]', '7', '"x"', 'null'])('what is no JSON object cannot be asked yet: %s', (fields) => {
  expect(readDraft({ ...DRAFT, fields })).toBeUndefined()
})

test('neither can nothing', () => {
  expect(readDraft({ ...DRAFT, question: ' \n' })).toBeUndefined()
})
