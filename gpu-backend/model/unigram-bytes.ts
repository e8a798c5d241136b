// Byte fallback of Unigram models (sentencepiece's other kind): a piece that the vocabulary lacks becomes its UTF-8 bytes, each
// a token of its own. @huggingface/tokenizers does this for BPE alone, and would read every such piece as unknown.
import type { Tokenizer } from '@huggingface/tokenizers'
import * as z from 'zod/mini'

const Files = z.looseObject({ model: z.looseObject({ type: z.literal('Unigram'), byte_fallback: z.literal(true) }) })

/** Changes `tokenizer`, which was made from `files`, where those ask for byte fallback of a Unigram model. */
export function fallBackToBytes({ model }: Tokenizer, files: object): void {
  if (!model || !Files.safeParse(files).success) return
  const encode = model.encode.bind(model)
  const known = (token: string) => model.tokens_to_ids.has(token)
  model.encode = (texts) =>
    encode(texts).flatMap((piece) => {
      if (known(piece)) return [piece]
      const bytes = Array.from(new TextEncoder().encode(piece), byteToken)
      return bytes.every(known) ? bytes : [piece]
    })
}

function byteToken(byte: number): string {
  return `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`
}
