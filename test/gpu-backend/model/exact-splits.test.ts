// Token ids as the tokenizers library (0.23) in Rust gives them for the same tokenizer.json.
import { expect, test } from 'vitest'
import { withExactSplits } from '../../../gpu-backend/model/exact-splits.ts'
import { Tokenizer } from '../../../gpu-backend/model/tokenizer.ts'
import { embeddedTokenizerFiles } from '../../support/tiny-model.ts'

const files = embeddedTokenizerFiles()
const json = files.tokenizer as { readonly model: { readonly vocab: object; readonly merges: readonly unknown[] } }
/** With a token for a space and the byte that ², ½ and § begin with, as large vocabularies have it. */
const merging = new Tokenizer({
  ...files,
  tokenizer: {
    ...json,
    model: { ...json.model, vocab: { ...json.model.vocab, ĠÂ: 4096 }, merges: [...json.model.merges, ['Ġ', 'Â']] },
  },
})

test.each([
  ['a digit that is not ASCII stands alone, without the space before it', 'a ½', [68, 224, 130, 125]],
  ['so does a digit after another one', '1 ²3', [20, 224, 130, 114, 22]],
  ['a sign that is no digit has its space', 'a §', [68, 4096, 104]],
  ['U+0085 is white space', "it\u0085's", [278, 130, 231, 345]],
  ['U+FEFF is no white space', "it\ufeff's", [278, 175, 123, 127, 10, 86]],
])('%s', (_what, text, ids) => {
  expect([...merging.encode(text)]).toEqual(ids)
})

test('a pre-tokenizer that needs no other form keeps its own', () => {
  const without = { ...json, pre_tokenizer: null }
  expect(withExactSplits(without)).toBe(without)
  const byteLevel = { type: 'ByteLevel', add_prefix_space: true, use_regex: true }
  const kept = withExactSplits({ ...json, pre_tokenizer: byteLevel })
  expect(kept).toMatchObject({ pre_tokenizer: { type: 'Sequence', pretokenizers: [byteLevel] } })
})
