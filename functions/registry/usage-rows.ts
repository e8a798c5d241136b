// What questions to the usage records are answered with, row by row.
import * as z from 'zod/mini'
import { UsageRecord } from '../metering/usage-record.ts'

/** The dimensions that were asked for. */
const dimensions = z.partial(
  z.object({
    tenant: z.string(),
    day: z.string(),
    adapter: z.string(),
    digest: z.string(),
    key: z.string(),
    base: z.string(),
    outcome: z.string(),
  }),
).shape

/** One group's sums. */
export const UsageRow = z.object({
  ...dimensions,
  requests: z.int(),
  prompt_tokens: z.int(),
  cached_tokens: z.int(),
  completion_tokens: z.int(),
  /** Requests that had to wait for their adapter's bytes. */
  cold_requests: z.int(),
  price_nano: z.int(),
})
export type UsageRow = z.infer<typeof UsageRow>

/** One request's record; `backend`, its address, is for the operator alone. */
export const OwnUsageRecord = z.object({ ...UsageRecord.shape, backend: z.optional(UsageRecord.shape.backend) })
export type OwnUsageRecord = z.infer<typeof OwnUsageRecord>

const ms = z.nullable(z.number())

export const LatencyRow = z.object({
  ...dimensions,
  requests: z.int(),
  ttft_ms_p50: ms,
  ttft_ms_p95: ms,
  ttft_ms_p99: ms,
  latency_ms_p50: ms,
  latency_ms_p95: ms,
  latency_ms_p99: ms,
})
export type LatencyRow = z.infer<typeof LatencyRow>
