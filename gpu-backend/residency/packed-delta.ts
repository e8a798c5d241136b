// A delta in the order in which the graph reads it: q, k, v (and gate, up) side by side, in one piece of memory, all f32
// but what the graph takes in bytes. Packed once, when a delta is admitted, so that loading it later is one read and using
// it copies nothing. Invariant: the layout follows from the groups and ranks alone; a module that the delta leaves alone
// has rank 0 and takes no room.
import type { BaseModel } from '../../adapters/base-model.ts'
import type { Delta } from '../../adapters/delta.ts'
import { BackendError } from '../errors.ts'
import type { ProjectionGroup } from '../model/projection-groups.ts'
import { type QuantizedColumns, quantizeColumns } from '../model/quantize.ts'

/** What a packed delta's layout follows from. */
export interface PackedShape {
  /** By projection group: the largest rank among its parts, 0 where the delta has none of them. */
  readonly ranks: readonly number[]
  /** Rank of the change to the token embeddings; 0: none. */
  readonly embeddingRank: number
}

/** One projection group's change; `rank` 0 means none. */
export interface PackedGroup {
  readonly rank: number
  /** [parts * rank, in] f32, or in columns where the graph rounds the group's input */
  readonly a: Float32Array | QuantizedColumns
  /** by part: [out, rank] f32 */
  readonly b: readonly Float32Array[]
}

export interface PackedDelta {
  readonly digest: string
  readonly bytes: number
  readonly groups: readonly PackedGroup[]
  /** Token embeddings: row t gains (B A)ᵀ[t]; a: [rank, vocab], b: [hidden, rank] f32 */
  readonly embedding: { readonly rank: number; readonly a: Float32Array; readonly b: Float32Array } | undefined
}

/** Room for a packed delta of `shape`, in f32 values: four bytes each. */
export function packedValues(shape: PackedShape, groups: readonly ProjectionGroup[], base: BaseModel): number {
  const projections = groups.reduce((sum, group, i) => sum + shape.ranks[i]! * valuesPerRank(group), 0)
  return projections + shape.embeddingRank * (base.vocab_size + base.hidden_size)
}

/** The delta that lies in `values` (of `packedValues` length), as views. */
export function viewPacked(
  digest: string,
  shape: PackedShape,
  groups: readonly ProjectionGroup[],
  base: BaseModel,
  values: Float32Array,
): PackedDelta {
  let offset = 0
  const take = (length: number) => {
    const view = values.subarray(offset, offset + length)
    offset += length
    return view
  }
  const takeColumns = (inSize: number, out: number): QuantizedColumns => {
    const bytes = take((inSize * out) / Float32Array.BYTES_PER_ELEMENT)
    return { values: new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength), scales: take(out) }
  }
  const packed = groups.map((group, i): PackedGroup => {
    const rank = shape.ranks[i]!
    const rows = group.parts.length * rank
    const a = group.smoothing ? takeColumns(group.in, rows) : take(rows * group.in)
    return { rank, a, b: group.parts.map((part) => take(part.out * rank)) }
  })
  const rank = shape.embeddingRank
  const embedding = rank > 0 ? { rank, a: take(rank * base.vocab_size), b: take(base.hidden_size * rank) } : undefined
  return { digest, bytes: values.byteLength, groups: packed, embedding }
}

/** One of the graph's inputs for a change that all rows share. */
export interface DeltaTensor<Values = Float32Array | Uint8Array> {
  readonly name: string
  readonly values: Values
  readonly dims: readonly number[]
}

/** The graph's Split refuses an empty dimension: no change at all is a change of rank 1 that is zero. */
export const MIN_RANK = 1

/** Values that the CPU's product over the rank takes at once. As many bytes are a whole f32. */
const VECTOR_VALUES = 4

/** Zeros for every A and B of rank MIN_RANK. */
export function noChange(groups: readonly ProjectionGroup[]): Float32Array<ArrayBuffer> {
  const sizes = groups.flatMap((group) => [group.parts.length * group.in, ...group.parts.map((part) => part.out)])
  return new Float32Array(Math.max(...sizes) * MIN_RANK)
}

/** A and B of a group, as they lie in the delta's memory, or in `zeros` (of `noChange`) where it changes nothing. */
export function deltaTensors(
  group: ProjectionGroup,
  change: PackedGroup | undefined,
  zeros: Float32Array<ArrayBuffer>,
): DeltaTensor[] {
  return change && change.rank > 0 ? changeTensors(group, change) : noChangeTensors(group, zeros)
}

function noChangeTensors(group: ProjectionGroup, zeros: Float32Array<ArrayBuffer>): DeltaTensor[] {
  const { name, parts, joined, smoothing } = group
  // Whatever the bytes are, their scale is zero.
  const a = smoothing ? { values: new Uint8Array(zeros.buffer), scales: zeros } : zeros
  return [
    ...tensorsOfA(group, a, MIN_RANK),
    ...parts.map(({ out }, part) => matrix(`${name}.B${part}`, zeros, [joined ? out : 1, MIN_RANK])),
  ]
}

function changeTensors(group: ProjectionGroup, { rank, a, b }: PackedGroup): DeltaTensor[] {
  const { name, parts } = group
  return [
    ...tensorsOfA(group, a, rank),
    ...parts.map(({ out }, part) => matrix(`${name}.B${part}`, b[part]!, [out, rank])),
  ]
}

function tensorsOfA({ name, in: inSize, parts }: ProjectionGroup, a: PackedGroup['a'], rank: number): DeltaTensor[] {
  const rows = parts.length * rank
  if (a instanceof Float32Array) return [matrix(`${name}.A`, a, [rows, inSize])]
  return [matrix(`${name}.A`, a.values, [inSize, rows]), matrix(`${name}.A_scales`, a.scales, [rows])]
}

function matrix(name: string, values: Float32Array | Uint8Array, dims: readonly number[]): DeltaTensor {
  const length = dims.reduce((product, dim) => product * dim, 1)
  return { name, values: values.subarray(0, length), dims }
}

/**
 * Adds the delta's change to the embeddings of `tokens` to `sums` [tokens, hidden] f32: a few dot products for each token.
 */
export function addEmbeddingChange(
  { rank, a, b }: NonNullable<PackedDelta['embedding']>,
  tokens: ArrayLike<number>,
  sums: Float32Array,
): void {
  const [hiddenSize, vocabSize] = [b.length / rank, a.length / rank]
  for (let i = 0; i < tokens.length; i++) {
    for (let h = 0; h < hiddenSize; h++) {
      let sum = 0
      for (let k = 0; k < rank; k++) sum += b[h * rank + k]! * a[k * vocabSize + tokens[i]!]!
      sums[i * hiddenSize + h]! += sum
    }
  }
}

/**
 * Packs a canonical delta. Parts of a group with a smaller rank than its largest, rounded up, are padded with zeros.
 * @throws BackendError `invalid_delta` when it names a module that this engine cannot change
 */
export function packDelta(
  digest: string,
  delta: Delta,
  groups: readonly ProjectionGroup[],
  base: BaseModel,
): { shape: PackedShape; values: Float32Array<ArrayBuffer> } {
  const known = new Set([...groups.flatMap((group) => group.parts.map((part) => part.module)), 'model.embed_tokens'])
  for (const module of delta.modules.keys()) {
    if (!known.has(module))
      throw new BackendError('invalid_delta', `The delta changes ${module}, which ${base.name} does not have.`)
  }
  const rankOf = (module: string) => delta.modules.get(module)?.rank ?? 0
  const shape = {
    ranks: groups.map((group) => wholeVectors(Math.max(...group.parts.map((part) => rankOf(part.module))))),
    embeddingRank: rankOf('model.embed_tokens'),
  }
  const values = new Float32Array(packedValues(shape, groups, base))
  const packed = viewPacked(digest, shape, groups, base, values)
  for (const [i, group] of groups.entries()) packGroup(delta, group, packed.groups[i]!)
  const embedding = delta.modules.get('model.embed_tokens')
  if (embedding && packed.embedding) {
    packed.embedding.a.set(embedding.a)
    packed.embedding.b.set(embedding.b)
  }
  return { shape, values }
}

/** Rounded up to whole vectors: the few values over would be summed otherwise alone than in a stack of a larger rank. */
function wholeVectors(rank: number): number {
  return Math.ceil(rank / VECTOR_VALUES) * VECTOR_VALUES
}

function packGroup(delta: Delta, { in: inSize, parts, smoothing }: ProjectionGroup, { rank, a, b }: PackedGroup): void {
  const rows = a instanceof Float32Array ? a : new Float32Array(parts.length * rank * inSize)
  for (const [part, { module }] of parts.entries()) {
    const source = delta.modules.get(module)
    if (!source) continue
    rows.set(source.a, part * rank * inSize)
    copyColumns(source.b, source.rank, b[part]!, rank)
  }
  if (a instanceof Float32Array) return
  const { values, scales } = quantizeColumns(rows, inSize, smoothing)
  a.values.set(values)
  a.scales.set(scales)
}

/** Copies a row-major [rows, sourceColumns] matrix into one with more columns. The rest of the target is left as it is. */
export function copyColumns(
  source: Float32Array | Float16Array | Uint8Array,
  sourceColumns: number,
  target: Float32Array | Float16Array | Uint8Array,
  targetColumns: number,
): void {
  if (sourceColumns === targetColumns) {
    target.set(source)
    return
  }
  const rows = source.length / sourceColumns
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < sourceColumns; column++) {
      target[row * targetColumns + column] = source[row * sourceColumns + column]!
    }
  }
}

function valuesPerRank({ in: inSize, parts, smoothing }: ProjectionGroup): number {
  const column = smoothing ? inSize / Float32Array.BYTES_PER_ELEMENT + 1 : inSize
  return parts.length * column + parts.reduce((sum, part) => sum + part.out, 0)
}
