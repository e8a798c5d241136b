// What becomes of sequences, on its way to the server's thread: all that one step brings is one message.
import { BackendError } from '../../errors.ts'
import type { FinishReason } from '../../protocol.ts'
import type { Sampled } from '../../sampling/sampler.ts'
import type { Sequence } from '../../scheduler/sequence.ts'
import type { FromWorker, SequenceEnd, TokenMessage } from './messages.ts'

export class Outbox {
  readonly #post: (message: FromWorker) => void
  #tokens: TokenMessage[] = []
  #ended: SequenceEnd[] = []

  constructor(post: (message: FromWorker) => void) {
    this.#post = post
  }

  started({ id, tier, numCachedTokens: cachedTokens, loadMs }: Sequence): void {
    this.#post({ type: 'started', id, tier, cachedTokens, loadMs })
  }

  token({ id }: Sequence, sampled: Sampled): void {
    this.#tokens.push({ id, ...sampled })
  }

  embedded({ id }: Sequence, embedding: Float32Array): void {
    this.#post({ type: 'embedded', id, embedding })
  }

  ended(sequence: Sequence, reason: FinishReason): void {
    this.#ended.push({
      id: sequence.id,
      reason,
      cachedTokens: sequence.numCachedTokens,
      batchRows: sequence.maxBatchRows,
      batchDeltas: sequence.maxBatchDeltas,
    })
  }

  failed({ id }: Sequence, error: unknown): void {
    // Its tokens first: they were right.
    this.flush()
    const { code, param } = error instanceof BackendError ? error : ({ code: 'internal', param: undefined } as const)
    const message = error instanceof Error ? error.message : String(error)
    this.#post({ type: 'failed', id, code, message, param })
  }

  flush(): void {
    if (this.#tokens.length === 0 && this.#ended.length === 0) return
    this.#post({ type: 'step', tokens: this.#tokens, ended: this.#ended })
    this.#tokens = []
    this.#ended = []
  }
}
