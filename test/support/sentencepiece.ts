// A tokenizer.json as SentencePiece's models have: words begin with a space, which the first of a text loses when it is decoded.

/** Tokens have the ids of their places; `<unk>` must be among them, and `<s>` is special where it is. */
export function sentencePiece(tokens: readonly string[]): object {
  const plain = { single_word: false, lstrip: false, rstrip: false, normalized: false }
  const bos = tokens.indexOf('<s>')
  return {
    added_tokens: bos < 0 ? [] : [{ ...plain, id: bos, content: '<s>', special: true }],
    normalizer: null,
    pre_tokenizer: null,
    post_processor: null,
    decoder: {
      type: 'Sequence',
      decoders: [
        { type: 'Replace', pattern: { String: '▁' }, content: ' ' },
        { type: 'ByteFallback' },
        { type: 'Fuse' },
        { type: 'Strip', content: ' ', start: 1, stop: 0 },
      ],
    },
    model: {
      type: 'BPE',
      vocab: Object.fromEntries(tokens.map((token, id) => [token, id])),
      merges: [],
      unk_token: '<unk>',
      byte_fallback: true,
    },
  }
}
