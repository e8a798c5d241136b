// What was agreed with a tenant: limits, billing and prices; and what so many tokens cost under it. Pure.
import * as z from 'zod/mini'
import type { Usage } from '../../gpu-backend/protocol.ts'

const limit = z.nullable(z.int().check(z.positive()))
/** Billionths of the currency's unit for one token: 150 is 0.15 for a million tokens. */
const price = z.int().check(z.nonnegative())

export const Terms = z.object({
  /** null: no limit. */
  requests_per_minute: limit,
  tokens_per_minute: limit,
  /** `prepaid`: a request is refused where the balance does not cover what it may cost. */
  billing: z.enum(['prepaid', 'postpaid']),
  prompt_price_nano: price,
  /** For those of the prompt's tokens that were not computed again. */
  cached_price_nano: price,
  completion_price_nano: price,
})
export type Terms = z.infer<typeof Terms>

/** Some of the terms: what is absent stays. A name that is none of theirs is refused: whoever misspells a limit must hear of it. */
export const TermsChange = z.strictObject(z.partial(Terms).shape)
export type TermsChange = z.infer<typeof TermsChange>

/** The columns of `tenants` that hold the terms. */
export const TERMS_COLUMNS = z.keyof(Terms).options

/** Billionths of the currency's unit. */
export function priceNano(terms: Terms, { prompt_tokens, cached_tokens, completion_tokens }: Usage): number {
  return (
    (prompt_tokens - cached_tokens) * terms.prompt_price_nano +
    cached_tokens * terms.cached_price_nano +
    completion_tokens * terms.completion_price_nano
  )
}
