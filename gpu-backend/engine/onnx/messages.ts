// What passes between the engine's two halves: the server's thread and the thread that runs the graph.
import type { BaseModel } from '../../../adapters/base-model.ts'
import type { TokenTrie } from '../../grammar/token-trie.ts'
import type { ErrorCode, Tier } from '../../protocol.ts'
import type { AdapterCacheStats } from '../../residency/adapter-cache.ts'
import type { Sampled } from '../../sampling/sampler.ts'
import type { SequenceRequest } from '../../scheduler/sequence.ts'
import type { EndOfSequence } from '../answer-events.ts'
import type { EngineCounts } from '../engine.ts'
import type { RunnerOptions } from './runner.ts'

/** What the worker is started with. */
export interface WorkerOptions extends RunnerOptions {
  readonly base: BaseModel
  /** Tokens that all rows can hold together. */
  readonly kvTokens: number
  /** Capacity of the host tier. */
  readonly hostDeltaBytes: number
  /** Capacity of the prefix cache. */
  readonly prefixCacheBytes: number
  readonly deltaDir: string
  /** Whether the thread may keep the process's others off a core. */
  readonly ownCore: boolean
}

export type ToWorker =
  /** The first message, and this one alone: the vocabulary, for grammars. */
  | { readonly type: 'vocabulary'; readonly vocabulary: TokenTrie | undefined }
  | { readonly type: 'add'; readonly sequences: readonly SequenceRequest[] }
  | { readonly type: 'cancel'; readonly ids: readonly number[] }
  /** Ends a sequence whose text has reached a stop string. */
  | { readonly type: 'stop'; readonly id: number }
  | { readonly type: 'evict'; readonly digest: string; readonly call: number }
  | { readonly type: 'report'; readonly call: number }
  | { readonly type: 'close' }

/** One new token of the sequence `id`. */
export interface TokenMessage extends Sampled {
  readonly id: number
}

export interface SequenceEnd extends EndOfSequence {
  readonly id: number
}

export interface WorkerReport {
  readonly waiting: number
  readonly running: number
  readonly stalled: number
  readonly kvUsage: number
  readonly counts: EngineCounts
  readonly cache: AdapterCacheStats
  readonly hostDigests: readonly string[]
  readonly deviceDigests: readonly string[]
}

export type FromWorker =
  | { readonly type: 'ready' }
  /** From here on steps take as long as they ever will: so many milliseconds after `ready`. */
  | { readonly type: 'loaded'; readonly ms: number }
  /** The thread cannot go on: it could not start, or its loop has failed. */
  | { readonly type: 'fatal'; readonly message: string }
  | {
      readonly type: 'started'
      readonly id: number
      readonly tier: Tier | null
      readonly cachedTokens: number
      readonly loadMs: number | undefined
    }
  /** Everything that one step brought. */
  | { readonly type: 'step'; readonly tokens: readonly TokenMessage[]; readonly ended: readonly SequenceEnd[] }
  | { readonly type: 'embedded'; readonly id: number; readonly embedding: Float32Array }
  | {
      readonly type: 'failed'
      readonly id: number
      readonly code: ErrorCode
      readonly message: string
      readonly param: string | undefined
    }
  | { readonly type: 'evicted'; readonly call: number }
  | { readonly type: 'report'; readonly call: number; readonly report: WorkerReport }
