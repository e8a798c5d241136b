// The steps whose deltas lie in one scope: a prompt's chunk, a token of each of so many rows, several tokens of row 0.
// Knows no deltas. Invariant: what a step is bound to lives until `release`, but for a delta's tensors.
import { ofToken } from '../../model/tokens-in-turn.ts'
import { type Bound, bindDecodeStep, type DecodeStep, type DecodeStepOptions } from './decode-step.ts'
import type { StepSessions } from './graph-sessions.ts'
import { VERIFY_TOKENS } from './graph-variants.ts'
import type { KvCache } from './kv-cache.ts'
import type { OnnxRuntime } from './ort.ts'

type StepsOptions = Pick<DecodeStepOptions, 'vocabSize' | 'results' | 'firstPosition'>

export class GraphSteps {
  /** A device keeps the delta's tensors from one chunk to the next. */
  readonly prefill: Bound
  /** Several tokens of row 0, where the graph can. */
  readonly verify: DecodeStep | undefined
  readonly #runtime: OnnxRuntime
  readonly #sessions: StepSessions
  readonly #kv: KvCache
  readonly #options: StepsOptions
  /** By rows. */
  readonly #decode = new Map<number, DecodeStep>()

  constructor(runtime: OnnxRuntime, sessions: StepSessions, kv: KvCache, options: StepsOptions) {
    this.#runtime = runtime
    this.#sessions = sessions
    this.#kv = kv
    this.#options = options
    const { prompt, verify } = sessions
    this.prefill = { ...prompt, binding: prompt.session.createBinding(), deltas: undefined }
    if (verify) {
      const cache = kv.batch(1)
      const rows = VERIFY_TOKENS
      this.verify = bindDecodeStep(runtime, { ...options, ...verify, rows, cache })
      for (const { present, value } of cache) {
        for (let i = 0; i < VERIFY_TOKENS - 1; i++) this.verify.binding.output(ofToken(present, i), value)
      }
    }
  }

  /** A token of each of so many `rows`. */
  decode(rows: number): DecodeStep {
    let step = this.#decode.get(rows)
    if (!step) {
      const cache = this.#kv.batch(rows)
      step = bindDecodeStep(this.#runtime, { ...this.#options, ...this.#sessions.rows, rows, cache })
      this.#decode.set(rows, step)
    }
    return step
  }

  /** Must be called before a delta's memory goes: a binding that names its tensors is bound anew before its next run. */
  forgetDeltas(): void {
    this.prefill.deltas = undefined
    if (this.verify) this.verify.deltas = undefined
    for (const step of this.#decode.values()) step.deltas = undefined
  }

  /** Must be called when the batch's cache is of other tensors than before. */
  forgetCache(): void {
    for (const { binding } of this.#decode.values()) binding.release()
    this.#decode.clear()
  }

  release(): void {
    this.forgetCache()
    this.verify?.binding.release()
    this.prefill.binding.release()
  }
}
