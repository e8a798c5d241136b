// What must be true of tenants and names after any commands: the edge once more, without storage, time or failure. Pure.

export interface NameState {
  readonly digest: string
  readonly previous: string | null
  readonly canary: string | null
  /** Sorted. */
  readonly versions: readonly string[]
}

/** What a change makes of a name (undefined: there is none), or the status that refuses it. */
export type Change = (before: NameState | undefined) => NameState | undefined | number

export interface KeyState {
  readonly id: string
  readonly secret: string
  readonly scopes: readonly string[]
  revoked: boolean
}

/** A whole answer, which is in the books once. */
export interface Answered {
  readonly requestId: string
  readonly adapter: string | null
  readonly digest: string | null
  readonly prompt: number
  readonly cached: number
  readonly completion: number
  readonly priceNano: number
}

export interface Prices {
  readonly billing: 'prepaid' | 'postpaid'
  readonly prompt: number
  readonly cached: number
  readonly completion: number
}

export interface TenantState {
  readonly id: string
  /** Of all tenants of a run. */
  readonly number: number
  readonly keys: KeyState[]
  readonly names: Map<string, NameState>
  readonly prices: Prices
  /** Payments, by id. */
  readonly credits: Map<string, number>
  readonly answered: Answered[]
  /** Requests that were refused or broke off: what the books have of them is no whole answer. */
  readonly unfinished: Set<string>
  /** Idempotency-Key -> what it was answered with. */
  readonly kept: Map<string, { text: string; digest: string }>
  /** Undefined: it is there. */
  deletedMs: number | undefined
}

export const publishing =
  (digest: string, keepsAlias: boolean): Change =>
  (before) => {
    if (!before) return { digest, previous: null, canary: null, versions: [digest] }
    const versions = [...new Set([...before.versions, digest])].sort()
    return { ...(keepsAlias ? before : moved(before, digest)), versions }
  }

export const movingTo =
  (digest: string): Change =>
  (before) =>
    before?.versions.includes(digest) ? moved(before, digest) : 404

export const rollingBack: Change = (before) => {
  if (!before) return 404
  return before.previous === null ? 409 : moved(before, before.previous)
}

export const splitting =
  (digest: string): Change =>
  (before) =>
    before?.versions.includes(digest) ? { ...before, canary: digest } : 404

export const removing: Change = (before) => (before ? undefined : 404)

function moved(before: NameState, digest: string): NameState {
  const previous = before.digest === digest ? before.previous : before.digest
  return { ...before, digest, previous, canary: null }
}

/** Whatever two changes at once, so answered, may have made of a name: one after the other, in either order. */
export function outcomes(
  before: NameState | undefined,
  changes: readonly { readonly change: Change; readonly status: number }[],
): (NameState | undefined)[] {
  const [first, second] = changes
  return [
    [first!, second!],
    [second!, first!],
  ].flatMap((order) => {
    let states: (NameState | undefined)[] = [before]
    for (const { change, status } of order) {
      states = states.flatMap((state) => {
        const after = change(state)
        // Who removes what somebody else is removing is told that it is gone.
        const done = typeof after !== 'number' ? [after] : change === removing ? [state] : []
        if (status < 300) return done
        return status < 500 ? [state] : [state, ...done]
      })
    }
    return states
  })
}

export function priceOf(prices: Prices, used: { prompt: number; cached: number; completion: number }): number {
  const { prompt, cached, completion } = used
  return (prompt - cached) * prices.prompt + cached * prices.cached + completion * prices.completion
}

/** More than is ever held for one of the tests' questions. */
export function mostNano(prices: Prices, maxTokens: number): number {
  return 20 * prices.prompt + maxTokens * prices.completion
}
