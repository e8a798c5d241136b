// The other tensor of a pair A, B. Knows no names: each format says what its own are.
import { AdapterError, quote } from '../errors.ts'
import type { SourceTensor, TensorFile } from '../source-tensor.ts'

/** The tensor `name` of the same file. Throws AdapterError `malformed` where `tensor` is alone; `remedy` says what to do. */
export function partnerOf(tensor: SourceTensor, name: string, weights: TensorFile, remedy: string): SourceTensor {
  const partner = weights.tensors.get(name)
  if (partner !== undefined) return partner
  throw new AdapterError('malformed', `${weights.file}: ${quote(tensor.name)} has no partner; ${remedy}.`)
}
