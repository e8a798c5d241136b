// Texts to tokens without holding the server's thread up: short ones at once, long ones in a thread of their own.
// Knows the tokenizer's files and nothing of requests. Invariant: a text that cannot fit the context whatever its tokens
// are is refused before it is tokenised, which for some texts takes seconds.
import { Worker } from 'node:worker_threads'
import { BackendError } from '../errors.ts'
import type { EncodeAnswer, EncodeRequest } from './encoder-thread.ts'
import { longestTokenBytes } from './token-bytes.ts'
import type { PromptKind, Tokenizer } from './tokenizer.ts'

/** Texts up to this length in all take a few milliseconds, which is not worth a thread's time. */
const MAX_INLINE_CHARS = 4096

export class PromptEncoder {
  readonly #tokenizer: Tokenizer
  readonly #contextTokens: number
  readonly #maxBytes: number
  readonly #maxInlineChars: number
  readonly #calls = new Map<number, PromiseWithResolvers<Int32Array[]>>()
  #worker: Worker | undefined
  #lastCall = 0

  constructor(tokenizer: Tokenizer, contextTokens: number, maxInlineChars: number = MAX_INLINE_CHARS) {
    this.#tokenizer = tokenizer
    this.#contextTokens = contextTokens
    this.#maxBytes = contextTokens * (longestTokenBytes(tokenizer.source.files.tokenizer) ?? Number.POSITIVE_INFINITY)
    this.#maxInlineChars = maxInlineChars
  }

  /**
   * Token ids of each text.
   * @throws BackendError `context_length_exceeded` or, as the tokenizer does, `bad_request`
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
    const call = ++this.#lastCall
    const answer = Promise.withResolvers<Int32Array[]>()
    this.#calls.set(call, answer)
    this.#worker ??= this.#start()
    this.#worker.postMessage({ call, texts, kind } satisfies EncodeRequest)
    return answer.promise
  }

  async close(): Promise<void> {
    await this.#worker?.terminate()
  }

  #start(): Worker {
    const worker = new Worker(new URL('./encoder-thread.ts', import.meta.url), { workerData: this.#tokenizer.source })
    // It does not keep the process alive.
    worker.unref()
    worker.on('message', (answer: EncodeAnswer) => {
      const call = this.#calls.get(answer.call)
      this.#calls.delete(answer.call)
      if ('tokens' in answer) call?.resolve(answer.tokens)
      else call?.reject(new BackendError(answer.code, answer.message))
    })
    let reason = 'it was closed'
    worker.on('error', (error) => {
      reason = error.message
    })
    worker.once('exit', () => {
      this.#worker = undefined
      const failure = new BackendError('unavailable', `The thread that tokenises prompts has ended: ${reason}.`)
      for (const call of this.#calls.values()) call.reject(failure)
      this.#calls.clear()
    })
    return worker
  }
}
