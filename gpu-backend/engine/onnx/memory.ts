// Shares the memory budget out: how many rows, how much context, how much for deltas and saved prefixes.
// Pure arithmetic over the model's sizes; printed at start so that nobody has to guess.
import { StartupError } from '../../errors.ts'
import type { ModelConfig } from '../../model/model-config.ts'
import { HEAD, projectionGroups } from '../../model/projection-groups.ts'
import type { FloatType } from '../../model/weight-formats.ts'
import { TYPICAL_ANSWER_TOKENS } from '../../scheduler/scheduler.ts'
import { kvBytesPerToken } from './kv-cache.ts'
import { stackBytesPerRank } from './rows-apart.ts'

export interface MemoryOptions {
  readonly budgetBytes: number
  /** The largest batch that is of use. */
  readonly maxRows: number
  readonly contextTokens: number
  readonly floatType: FloatType
  /** Whether a row's part of the KV cache takes memory for the tokens alone that it holds. */
  readonly sharesTokens: boolean
}

export interface MemoryPlan {
  readonly maxRows: number
  /** Tokens that all rows can hold together. */
  readonly kvTokens: number
  readonly kvBytes: number
  readonly stackBytes: number
  readonly hostDeltaBytes: number
  readonly prefixCacheBytes: number
}

/** The budget's part for deltas in memory, and for saved prefixes. */
const DELTA_SHARE = 0.25
const PREFIX_SHARE = 0.1
/** Each row of the running batch has room in the stacks for a delta of this rank, */
const TYPICAL_RANK = 16
/** and up to this one as far as a part of the budget goes: rows with larger deltas are computed by themselves. */
const LARGE_RANK = 64
const STACK_SHARE = 0.15
const MIN_CONTEXT_TOKENS = 64

/**
 * The largest batch up to `maxRows` whose KV cache and delta stacks fit what the budget leaves.
 * @throws StartupError when not even one row fits, or it is too short to be of use
 */
export function planMemory(config: ModelConfig, options: MemoryOptions): MemoryPlan {
  const { budgetBytes, contextTokens, floatType } = options
  if (contextTokens < MIN_CONTEXT_TOKENS)
    throw new StartupError(`--context ${contextTokens} is too short: give at least ${MIN_CONTEXT_TOKENS} tokens.`)
  const hostDeltaBytes = Math.floor(budgetBytes * DELTA_SHARE)
  const prefixCacheBytes = Math.floor(budgetBytes * PREFIX_SHARE)
  const forRows = budgetBytes - hostDeltaBytes - prefixCacheBytes
  const tokenBytes = kvBytesPerToken(config, floatType)
  const layers = projectionGroups(config).filter(({ name }) => name !== HEAD)
  const rankBytes = layers.reduce((sum, group) => sum + stackBytesPerRank(group, floatType), 0)
  const stackRowBytes = TYPICAL_RANK * rankBytes
  // Where rows share the tokens, one must be able to have its whole context while the others have a typical answer's.
  const rowTokens = options.sharesTokens ? Math.min(TYPICAL_ANSWER_TOKENS, contextTokens) : contextTokens
  const besideOneWhole = forRows - (contextTokens - rowTokens) * tokenBytes
  const maxRows = Math.min(options.maxRows, Math.floor(besideOneWhole / (rowTokens * tokenBytes + stackRowBytes)))
  if (maxRows < 1) {
    throw new StartupError(
      `--memory ${Math.round(budgetBytes / 1e6)} MB does not hold one sequence of ${contextTokens} tokens: raise --memory or lower --context.`,
    )
  }
  const spareBytes = besideOneWhole - maxRows * rowTokens * tokenBytes
  const stackBytes = Math.max(
    maxRows * stackRowBytes,
    Math.floor(Math.min(spareBytes, budgetBytes * STACK_SHARE, maxRows * LARGE_RANK * rankBytes)),
  )
  const kvTokens = Math.min(Math.floor((forRows - stackBytes) / tokenBytes), maxRows * contextTokens)
  return { maxRows, kvTokens, kvBytes: kvTokens * tokenBytes, stackBytes, hostDeltaBytes, prefixCacheBytes }
}
