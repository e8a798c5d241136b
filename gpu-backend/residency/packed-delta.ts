// A delta in the order in which the graph reads it, in one piece of memory, all f32 but what the graph takes in bytes.
// Packed once, when a delta is admitted, so that loading it later is one read and using it copies nothing. Invariant: the
// layout follows from the groups and ranks alone; a group that the delta leaves alone has rank 0 and takes no room.
import type { BaseModel } from '../../adapters/base-model.ts'
import type { Delta } from '../../adapters/delta.ts'
import { BackendError } from '../errors.ts'
import { type DeltaScope, EMBEDDING_SCOPE, groupScope, widestScope } from '../model/delta-scope.ts'
import { type ProjectionGroup, timesFactors } from '../model/projection-groups.ts'
import { type QuantizedColumns, quantizeColumns } from '../model/quantize.ts'

/** What a packed delta's layout follows from. */
export interface PackedShape {
  /** Of each group: the largest of its projections, 0 where the delta leaves them alone. */
  readonly ranks: readonly number[]
  /** Rank of the change to the token embeddings; 0: none. */
  readonly embeddingRank: number
}

/** One group's change; `rank` 0 means none. All projections have this rank, padded with zeros. */
export interface PackedGroup {
  readonly rank: number
  /** [projections, rank, in] f32, or in as many columns where the graph rounds the input */
  readonly a: Float32Array | QuantizedColumns
  /** [out, rank] f32 */
  readonly b: Float32Array
}

export interface PackedDelta {
  readonly digest: string
  readonly bytes: number
  readonly scope: DeltaScope
  /** By projection group. */
  readonly groups: readonly PackedGroup[]
  /** Token embeddings: row t gains (B A)ᵀ[t]; a: [rank, vocab], b: [hidden, rank] f32 */
  readonly embedding: { readonly rank: number; readonly a: Float32Array; readonly b: Float32Array } | undefined
}

/** Room for a packed delta of `shape`, in f32 values: four bytes each. */
export function packedValues(shape: PackedShape, groups: readonly ProjectionGroup[], base: BaseModel): number {
  const perRank = groups.map((group) => group.projections.length * valuesOfA(group) + group.out)
  const projections = perRank.reduce((sum, values, i) => sum + values * shape.ranks[i]!, 0)
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
  const packed = groups.map(({ in: inSize, out, projections, smoothing }, i): PackedGroup => {
    const rank = shape.ranks[i]!
    const columns = projections.length * rank
    const a = smoothing ? takeColumns(inSize, columns) : take(columns * inSize)
    return { rank, a, b: take(out * rank) }
  })
  const rank = shape.embeddingRank
  const embedding = rank > 0 ? { rank, a: take(rank * base.vocab_size), b: take(base.hidden_size * rank) } : undefined
  const changed = groups.filter((_, i) => shape.ranks[i]! > 0).map(({ name }) => groupScope(name))
  const scope = widestScope(embedding ? [EMBEDDING_SCOPE, ...changed] : changed)
  return { digest, bytes: values.byteLength, scope, groups: packed, embedding }
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
 * Packs a canonical delta, ranks rounded up with zeros, those of a group's projections to the largest of them.
 * @throws BackendError `invalid_delta` when it names a module that this engine cannot change
 */
export function packDelta(
  digest: string,
  delta: Delta,
  groups: readonly ProjectionGroup[],
  base: BaseModel,
): { shape: PackedShape; values: Float32Array<ArrayBuffer> } {
  const modules = groups.flatMap(({ projections }) => projections.map(({ module }) => module))
  const known = new Set([...modules, 'model.embed_tokens'])
  for (const module of delta.modules.keys()) {
    if (!known.has(module))
      throw new BackendError('invalid_delta', `The delta changes ${module}, which ${base.name} does not have.`)
  }
  const rankOf = (module: string) => delta.modules.get(module)?.rank ?? 0
  const shape = {
    ranks: groups.map(({ projections }) => wholeVectors(Math.max(...projections.map(({ module }) => rankOf(module))))),
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

/** Values that the CPU's product over the rank takes at once. As many bytes are a whole f32. */
const VECTOR_VALUES = 4

/** Rounded up to whole vectors: the few values over would be summed otherwise alone than in a stack of a larger rank. */
function wholeVectors(rank: number): number {
  return Math.ceil(rank / VECTOR_VALUES) * VECTOR_VALUES
}

/** Puts what `delta` changes in a group where it is packed, which is zero. */
function packGroup(
  delta: Delta,
  { in: inSize, projections, smoothing }: ProjectionGroup,
  { rank, a, b }: PackedGroup,
): void {
  const rows = a instanceof Float32Array ? a : new Float32Array(projections.length * rank * inSize)
  let end = 0
  for (const [i, { module, out, factors }] of projections.entries()) {
    const start = end
    end += out * rank
    const source = delta.modules.get(module)
    if (!source) continue
    rows.set(source.a, i * rank * inSize)
    copyColumns(timesFactors(source.b, factors), source.rank, b.subarray(start, end), rank)
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

/** Of one rank. */
function valuesOfA({ in: inSize, smoothing }: ProjectionGroup): number {
  return smoothing ? inSize / Float32Array.BYTES_PER_ELEMENT + 1 : inSize
}
