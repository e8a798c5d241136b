// The tokens of a tokenizer.json and the bytes that each stands for: what a grammar over text needs of a vocabulary.
// Byte-level BPE, and sentencepiece with byte fallback. Special tokens stand for no text and have no bytes.
import * as z from 'zod/mini'

const Files = z.looseObject({
  added_tokens: z.optional(z.array(z.looseObject({ id: z.int(), content: z.string(), special: z.boolean() }))),
  normalizer: z.optional(z.unknown()),
  decoder: z.optional(z.unknown()),
  pre_tokenizer: z.optional(z.unknown()),
  // Not looked into entry by entry: the tokenizer has read it before, and there are many.
  model: z.looseObject({ vocab: z.custom<Vocabulary>((vocab) => typeof vocab === 'object') }),
})

/** Ids by token; in a Unigram model each id's token and score. */
type Vocabulary = Readonly<Record<string, number>> | readonly (readonly [token: string, score: number])[]

function tokensOf(vocab: Vocabulary): (readonly [token: string, id: number])[] {
  return Array.isArray(vocab) ? vocab.map(([token], id) => [token, id] as const) : Object.entries(vocab)
}

/** The id of a token by its text in tokenizer.json; undefined where there is none. */
export function tokenId(tokenizer: object, token: string): number | undefined {
  const { data } = Files.safeParse(tokenizer)
  if (!data) return undefined
  const added = data.added_tokens?.find(({ content }) => content === token)
  return added?.id ?? tokensOf(data.model.vocab).find(([text]) => text === token)?.[1]
}

/** A normaliser may compose characters: at most, as for Hangul, three of three bytes into one of three. */
const NORMALIZED_SHRINK = 3

/** Bytes by token id; a token without text has none. undefined where the tokenizer is of another kind. */
export function tokenBytes(tokenizer: object): (Uint8Array | undefined)[] | undefined {
  const { success, data } = Files.safeParse(tokenizer)
  const kind = success ? kindOf(data) : undefined
  if (!data || !kind) return undefined
  const decode = kind === 'ByteLevel' ? byteLevel() : byteFallback
  const bytes: (Uint8Array | undefined)[] = []
  for (const [token, id] of tokensOf(data.model.vocab)) bytes[id] = decode(token)
  // An added token is written as it is, whatever the other tokens are written in.
  for (const { id, content, special } of data.added_tokens ?? []) {
    bytes[id] = special ? undefined : new TextEncoder().encode(content)
  }
  return Array.from(bytes, (token) => (token && token.length > 0 ? token : undefined))
}

/**
 * Bytes of text that one token stands for at most: a longer text has more than one. undefined where the tokenizer is of
 * a kind whose vocabulary says nothing of bytes.
 */
export function longestTokenBytes(tokenizer: object): number | undefined {
  const { success, data } = Files.safeParse(tokenizer)
  const kind = success ? kindOf(data) : undefined
  if (!data || !kind) return undefined
  let longest = 0
  for (const { content } of data.added_tokens ?? [])
    longest = Math.max(longest, new TextEncoder().encode(content).length)
  for (const [token] of tokensOf(data.model.vocab)) {
    // On the byte level a letter is a byte.
    longest = Math.max(longest, kind === 'ByteLevel' ? token.length : byteFallback(token).length)
  }
  return data.normalizer ? longest * NORMALIZED_SHRINK : longest
}

function kindOf({ decoder, pre_tokenizer }: z.infer<typeof Files>): 'ByteLevel' | 'ByteFallback' | undefined {
  const kinds = JSON.stringify([decoder, pre_tokenizer])
  return (['ByteLevel', 'ByteFallback'] as const).find((kind) => kinds.includes(`"${kind}"`))
}

/** GPT-2's letters for bytes: printable Latin-1 as itself, the others from U+0100 on, in order. */
function byteLevel(): (token: string) => Uint8Array | undefined {
  const byteOf: (number | undefined)[] = []
  let next = 0x100
  for (let byte = 0; byte < 256; byte++) {
    const printable = (byte > 0x20 && byte < 0x7f) || (byte > 0xa0 && byte !== 0xad)
    byteOf[printable ? byte : next++] = byte
  }
  return (token) => {
    const bytes = new Uint8Array(token.length)
    for (let i = 0; i < token.length; i++) {
      const byte = byteOf[token.charCodeAt(i)]
      if (byte === undefined) return undefined
      bytes[i] = byte
    }
    return bytes
  }
}

function byteFallback(token: string): Uint8Array {
  const byte = /^<0x([0-9A-Fa-f]{2})>$/.exec(token)
  return byte ? Uint8Array.of(Number.parseInt(byte[1]!, 16)) : new TextEncoder().encode(token.replaceAll('\u2581', ' '))
}
