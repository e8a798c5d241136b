// What is written down of one request that reached a model: the basis of every bill.
import type { Tier } from '../../gpu-backend/protocol.ts'

/** `cut`: the client left; `failed`: the backend did, after it had begun. Tokens are those that reached the edge. */
export type Outcome = 'complete' | 'cut' | 'failed'

export interface UsageRecord {
  readonly request_id: string
  readonly tenant: string
  readonly key_id: string
  readonly route: string
  /** The adapter's name; null: the bare base model. */
  readonly adapter: string | null
  readonly digest: string | null
  /** Fingerprint of the base model. */
  readonly base: string
  readonly prompt_tokens: number
  readonly cached_tokens: number
  readonly completion_tokens: number
  readonly tier: Tier | null
  readonly backend: string
  readonly outcome: Outcome
  /** Milliseconds since the epoch. */
  readonly started_ms: number
  readonly ttft_ms: number | null
  readonly latency_ms: number
}

/** The columns of the table `usage`, in this order. */
export const USAGE_COLUMNS = [
  'request_id',
  'tenant',
  'key_id',
  'route',
  'adapter',
  'digest',
  'base',
  'prompt_tokens',
  'cached_tokens',
  'completion_tokens',
  'tier',
  'backend',
  'outcome',
  'started_ms',
  'ttft_ms',
  'latency_ms',
] as const satisfies readonly (keyof UsageRecord)[]
