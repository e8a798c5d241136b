// What a decode step of so many rows, or of a part of them, reads and writes, bound once and used for every step of as many.
// Holds no deltas: which of their tensors are bound is noted by who binds them.
import type { DeltaTensors } from './delta-inputs.ts'
import type { ScopedSession } from './graph-sessions.ts'
import { ints } from './host-arrays.ts'
import type { KvTensor } from './kv-cache.ts'
import type { OnnxRuntime } from './ort.ts'
import type { Binding, Value } from './ort-binding.ts'

/** A graph's inputs and outputs, and which deltas' tensors are among them; undefined: those that were may be gone. */
export interface Bound extends ScopedSession {
  readonly binding: Binding
  /** Of the batch, each with its delta. */
  readonly rows: number
  deltas: DeltaTensors | undefined
}

/** What a step gives of its rows, valid until the next one. */
export interface Decoded {
  /** [rows, vocab] f32 */
  readonly logits: Float32Array<ArrayBuffer>
  /** [rows] f32: the largest logit of each */
  readonly peaks: Float32Array<ArrayBuffer>
}

export interface DecodeStep extends Bound {
  readonly ids: Int32Array<ArrayBuffer>
  readonly seqlens: Int32Array<ArrayBuffer>
  readonly total: Int32Array<ArrayBuffer>
  readonly inputs: readonly { readonly name: string; readonly value: Value }[]
}

export interface DecodeStepOptions extends ScopedSession {
  /** The first of the rows, among those of the batch. */
  readonly first: number
  readonly rows: number
  readonly vocabSize: number
  readonly cache: readonly KvTensor[]
  /** Where steps write what they give, each row to its place: all steps in the same memory. */
  readonly results: Decoded
  /** The tensor of one position, 0. */
  readonly firstPosition: Value
}

export function bindDecodeStep(
  runtime: OnnxRuntime,
  { session, scope, first, rows, vocabSize, cache, results, firstPosition }: DecodeStepOptions,
): DecodeStep {
  const binding = session.createBinding()
  const [ids, seqlens, total] = [ints(rows), ints(rows), ints(1)]
  const logits = results.logits.subarray(first * vocabSize, (first + rows) * vocabSize)
  const peaks = results.peaks.subarray(first, first + rows)
  const inputs = [
    { name: 'input_ids', value: binding.hold(runtime.hostTensor(ids, 'i32', [rows, 1])) },
    { name: 'seqlens_k', value: binding.hold(runtime.hostTensor(seqlens, 'i32', [rows])) },
    { name: 'total_length', value: binding.hold(runtime.hostTensor(total, 'i32', [])) },
  ]
  binding.input('sample_positions', firstPosition)
  binding.output('logits', binding.hold(runtime.hostTensor(logits, 'f32', [rows, 1, vocabSize])))
  binding.output('peaks', binding.hold(runtime.hostTensor(peaks, 'f32', [rows, 1])))
  for (const { past, present, value } of cache) {
    binding.input(past, value)
    binding.output(present, value)
  }
  return { session, scope, binding, rows, ids, seqlens, total, inputs, deltas: undefined }
}
