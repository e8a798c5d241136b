// Texts to tokens without holding the server's thread up: short ones at once, long ones in a thread of their own.
// Knows the tokenizer's files and nothing of requests. Invariant: a text that cannot fit the context whatever its tokens
// are is refused before it is tokenised, which for some texts takes seconds.
import { BackendError } from '../errors.ts'
import { TaskThread } from '../task-thread.ts'
import type { EncodeRequest } from './encoder-thread.ts'
import { longestTokenBytes } from './token-bytes.ts'
import type { PromptKind, Tokenizer } from './tokenizer.ts'

/** Texts up to this length in all take a few milliseconds, which is not worth a thread's time. */
const MAX_INLINE_CHARS = 4096

export class PromptEncoder {
  readonly #tokenizer: Tokenizer
  readonly #contextTokens: number
  readonly #maxBytes: number
  readonly #maxInlineChars: number
  readonly #thread: TaskThread<EncodeRequest, Int32Array[]>

  constructor(tokenizer: Tokenizer, contextTokens: number, maxInlineChars: number = MAX_INLINE_CHARS) {
    this.#tokenizer = tokenizer
    this.#contextTokens = contextTokens
    this.#maxBytes = contextTokens * (longestTokenBytes(tokenizer.source.files.tokenizer) ?? Number.POSITIVE_INFINITY)
    this.#maxInlineChars = maxInlineChars
    this.#thread = new TaskThread(
      new URL('./encoder-thread.ts', import.meta.url),
      tokenizer.source,
      'tokenises prompts',
    )
  }

  /**
   * Token ids of each text.
   * @throws BackendError `context_length_exceeded`, as the tokenizer does `bad_request`, or as its thread does `unavailable`
   */
  async encode(texts: readonly string[], kind: PromptKind): Promise<Int32Array[]> {
    for (const text of texts) {
      if (Buffer.byteLength(text) <= this.#maxBytes) continue
      throw new BackendError(
        'context_length_exceeded',
        `The context of this model is ${this.#contextTokens} tokens, but a prompt of ${text.length} characters has more: shorten it.`,
      )
    }
    const chars = texts.reduce((sum, text) => sum + text.length, 0)
    if (chars <= this.#maxInlineChars) return texts.map((text) => this.#tokenizer.encodeAs(text, kind))
    return this.#thread.run({ texts, kind })
  }

  async close(): Promise<void> {
    await this.#thread.close()
  }
}
