// Two of tokenizer.json's pre-tokenizers written as the general one, Split: @huggingface/tokenizers reads its expressions as
// the original in Rust does, but for these two it takes JavaScript's \d (0 to 9 alone) and \s (U+FEFF, and not U+0085).
// Knows no vocabulary. Invariant: what it returns splits a text as the original splits it for what was given.

/** GPT-2's, as tokenizers/src/pre_tokenizers/byte_level.rs has it. */
const GPT2 = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"

interface PreTokenizer {
  readonly type?: unknown
  readonly pretokenizers?: readonly unknown[]
  readonly individual_digits?: boolean
  readonly use_regex?: boolean
  readonly add_prefix_space?: boolean
}

/** A tokenizer.json whose pre-tokenizer splits exactly. */
export function withExactSplits(tokenizer: object): object {
  if (!('pre_tokenizer' in tokenizer)) return tokenizer
  const parts = exactParts(tokenizer.pre_tokenizer)
  return parts.length === 0 ? tokenizer : { ...tokenizer, pre_tokenizer: { type: 'Sequence', pretokenizers: parts } }
}

function exactParts(json: unknown): unknown[] {
  if (typeof json !== 'object' || json === null) return []
  const part: PreTokenizer = json
  if (part.type === 'Sequence') return (part.pretokenizers ?? []).flatMap(exactParts)
  if (part.type === 'Digits') return [split(part.individual_digits === true ? '\\p{N}' : '\\p{N}+')]
  // A space in front belongs before the whole text, which the pieces of a split are not.
  if (part.type === 'ByteLevel' && part.use_regex !== false && part.add_prefix_space !== true)
    return [split(GPT2), { ...part, use_regex: false }]
  return [part]
}

function split(pattern: string): object {
  return { type: 'Split', pattern: { Regex: pattern }, behavior: 'Isolated', invert: false }
}
