// An adapter as the options want it, and looked through: what `inspect` and `convert` do without a server.
import type { BaseModel } from '../adapters/base-model.ts'
import { MAX_RANK } from '../adapters/canonical.ts'
import type { DeltaDtype } from '../adapters/delta.ts'
import { type DeltaSource, storedAs } from '../adapters/delta-source.ts'
import { shrinkRank } from '../adapters/shrink-rank.ts'
import { type AdapterReport, verifyAdapter } from '../adapters/verify.ts'
import type { AdapterOptions } from './adapter-options.ts'
import type { OnProgress } from './progress.ts'

export interface CheckedAdapter {
  readonly source: DeltaSource
  readonly dtype: DeltaDtype
  readonly report: AdapterReport
}

/** Throws AdapterError. */
export async function checkAdapter(
  imported: DeltaSource,
  base: BaseModel,
  options: Pick<AdapterOptions, 'dtype' | 'shrinkRank'>,
  onProgress: OnProgress,
): Promise<CheckedAdapter> {
  const dtype = storedAs(imported, options.dtype)
  const rank = options.shrinkRank
  const onShrunk = (done: number, total: number) => onProgress('shrinking', done, total)
  const source = rank === undefined ? imported : (await shrinkRank(imported, rank, onShrunk)).source
  onProgress('checking', 0, 1)
  const limits = { maxRank: MAX_RANK, maxBytes: Number.POSITIVE_INFINITY }
  return { source, dtype, report: await verifyAdapter(source, base, dtype, limits) }
}
