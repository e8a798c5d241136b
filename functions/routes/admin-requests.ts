// The JSON bodies of the admin routes. Invariant: a field that is not known is refused, since one that is passed over in
// silence is a limit, an expiry or a price that does not hold.
import * as z from 'zod/mini'
import { Scope } from '../auth/scope.ts'
import { TermsChange } from '../metering/terms.ts'
import { Name } from '../registry/names.ts'

/** Balances are whole nano units that a JavaScript number holds exactly: nine million units of the currency. */
const MAX_CREDIT_NANO = Number.MAX_SAFE_INTEGER

export const NewTenant = z.strictObject({ id: Name, ...TermsChange.shape })

export const NewKey = z.prefault(
  z.strictObject({
    scopes: z._default(z.array(Scope).check(z.minLength(1)), ['inference']),
    expires_ms: z._default(z.nullable(z.int()), null),
  }),
  {},
)

export const Rotation = z.prefault(
  z.strictObject({ overlap_seconds: z._default(z.int().check(z.nonnegative()), 0) }),
  {},
)

/** What the operator decides of one adapter: whether its deltas may be handed to browsers. */
export const AdapterTerms = z.strictObject({ may_leave: z.boolean() })

export const Credit = z.strictObject({
  /** Chosen by the operator: the same id counts once. */
  id: z.string().check(z.minLength(1), z.maxLength(128)),
  amount_nano: z.int().check(z.gte(-MAX_CREDIT_NANO), z.lte(MAX_CREDIT_NANO)),
})
