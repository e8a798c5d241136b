// A request's account at its tenant's meter, for every route that reaches a model.
import type { Context } from 'hono'
import type { EdgeEnv } from '../edge-env.ts'
import { meterOf } from '../metering/meter-of.ts'
import { refusalOf } from '../metering/refusal.ts'
import type { IdempotencyKey, StoredAnswer } from '../metering/reservation.ts'
import { Ticket } from '../metering/ticket.ts'
import type { TokensWanted } from '../metering/tokens-wanted.ts'
import type { ResolvedModel } from '../registry/resolve-model.ts'

export function openTicket(
  c: Context<EdgeEnv>,
  { adapter, digest }: ResolvedModel,
  idempotency: IdempotencyKey | undefined,
): Ticket {
  const { tenant, sinceMs, keyId, terms } = c.var.principal
  return new Ticket({
    meter: () => meterOf(c.env, tenant),
    known: {
      request_id: c.var.requestId,
      tenant,
      key_id: keyId,
      route: c.req.path,
      adapter,
      digest,
      started_ms: Date.now(),
    },
    sinceMs,
    terms,
    idempotency,
    waitUntil: (promise) => c.executionCtx.waitUntil(promise),
  })
}

/**
 * Asks the meter, and notes what is left of the limits for the answer's headers.
 * @returns the answer that the same Idempotency-Key brought before, where there is one
 * @throws ApiError where the meter refuses
 */
export async function reserve(
  c: Context<EdgeEnv>,
  ticket: Ticket,
  wanted: TokensWanted,
): Promise<StoredAnswer | undefined> {
  const answer = await ticket.reserve(wanted)
  if ('rate' in answer) c.set('rate', answer.rate)
  const refusal = refusalOf(answer)
  if (refusal) throw refusal
  return answer.kind === 'replay' ? answer.answer : undefined
}
