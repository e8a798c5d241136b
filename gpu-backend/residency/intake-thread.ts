// The thread that hashes, checks and packs deltas: a file's blocks in, what is kept of it or a refusal out.
// Invariant: it holds one file and what it makes of it, and neither once it has answered.
import { createHash } from 'node:crypto'
import { workerData } from 'node:worker_threads'
import type { BaseModel } from '../../adapters/base-model.ts'
import type { ModuleLimits } from '../../adapters/limits.ts'
import { BackendError } from '../errors.ts'
import type { ProjectionGroup } from '../model/projection-groups.ts'
import { runTasks } from '../task-thread.ts'
import { checkedDelta } from './checked-delta.ts'
import { type PackedShape, packDelta } from './packed-delta.ts'

export interface IntakeOptions {
  readonly base: BaseModel
  /** What deltas are packed for; undefined: they stay as they come. */
  readonly groups: readonly ProjectionGroup[] | undefined
}

export interface IntakeRequest {
  readonly digest: string
  readonly blocks: readonly Uint8Array<ArrayBuffer>[]
  readonly limits: ModuleLimits
  /** Whether only the digest is to be checked, because the delta is kept already. */
  readonly isKnown: boolean
}

/** A checked delta, in its canonical file. */
export interface CheckedFile {
  readonly chatTemplate: string | undefined
  /** Of each module that it changes, by path. */
  readonly ranks: ReadonlyMap<string, number>
  readonly bytes: Uint8Array<ArrayBuffer>
}

/** A checked delta, packed. */
export interface PackedFile {
  readonly chatTemplate: string | undefined
  readonly shape: PackedShape
  readonly values: Float32Array<ArrayBuffer>
}

const { base, groups } = workerData as IntakeOptions

/** The file in one piece of memory, and its digest. */
function joined(blocks: IntakeRequest['blocks']): { bytes: Uint8Array<ArrayBuffer>; actual: string } {
  const bytes = new Uint8Array(blocks.reduce((sum, block) => sum + block.length, 0))
  const hash = createHash('sha256')
  let length = 0
  for (const block of blocks) {
    hash.update(block)
    bytes.set(block, length)
    length += block.length
    free(block)
  }
  return { bytes, actual: `sha256:${hash.digest('hex')}` }
}

/** At once: an idle thread collects no garbage, so that a file would stay until the next one comes. */
function free({ buffer }: Uint8Array<ArrayBuffer>): void {
  buffer.transfer(0)
}

/** undefined: it is known. @throws BackendError `digest_mismatch`, `invalid_delta` */
function checked(
  request: IntakeRequest,
  bytes: Uint8Array<ArrayBuffer>,
  actual: string,
): CheckedFile | PackedFile | undefined {
  const { digest, limits, isKnown } = request
  if (actual !== digest) {
    throw new BackendError(
      'digest_mismatch',
      `The bytes sent have the digest ${actual}, not ${digest}: send the file again.`,
    )
  }
  if (isKnown) return undefined
  const delta = checkedDelta(bytes, base, limits)
  const { chatTemplate } = delta.metadata
  if (groups) return { chatTemplate, ...packDelta(digest, delta, groups, base) }
  return { chatTemplate, ranks: new Map(Array.from(delta.modules, ([path, { rank }]) => [path, rank])), bytes }
}

function taken(request: IntakeRequest): CheckedFile | PackedFile | undefined {
  const { bytes, actual } = joined(request.blocks)
  let isGiven = false
  try {
    const delta = checked(request, bytes, actual)
    isGiven = delta !== undefined && 'bytes' in delta
    return delta
  } finally {
    if (!isGiven) free(bytes)
  }
}

runTasks(taken, (delta) => {
  if (!delta) return []
  return ['bytes' in delta ? delta.bytes.buffer : delta.values.buffer]
})
