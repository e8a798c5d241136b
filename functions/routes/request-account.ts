// What every request that reaches a model has in common: its account at the tenant's meter, and its way to the backends.
import type { Context } from 'hono'
import type { EdgeEnv } from '../env.ts'
import { rateHeaders, refusalOf } from '../metering/refusal.ts'
import type { IdempotencyKey, StoredAnswer } from '../metering/reservation.ts'
import { Ticket } from '../metering/ticket.ts'
import type { ResolvedModel } from '../registry/resolve-model.ts'
import type { ForwardContext } from '../router/forward.ts'

/** Characters that make a token at least: for reservations, before anything is counted. */
const CHARS_PER_TOKEN = 3

export function estimateTokens(text: string): number {
  return Math.ceil(text.length / CHARS_PER_TOKEN)
}

export function openTicket(
  c: Context<EdgeEnv>,
  { adapter, digest }: ResolvedModel,
  idempotency: IdempotencyKey | undefined,
): Ticket {
  const { tenant, keyId, terms } = c.var.principal
  return new Ticket({
    meter: c.env.METER.get(c.env.METER.idFromName(tenant)),
    known: {
      request_id: c.var.requestId,
      tenant,
      key_id: keyId,
      route: c.req.path,
      adapter,
      digest,
      started_ms: Date.now(),
    },
    terms,
    idempotency,
    waitUntil: (promise) => c.executionCtx.waitUntil(promise),
  })
}

/**
 * Asks the meter, and puts what is left of the limits into the answer's headers.
 * @returns the answer that the same Idempotency-Key brought before, where there is one
 * @throws ApiError where the meter refuses
 */
export async function reserve(
  c: Context<EdgeEnv>,
  ticket: Ticket,
  promptTokens: number,
  completionTokens: number,
): Promise<StoredAnswer | undefined> {
  const answer = await ticket.reserve(promptTokens, completionTokens)
  const refusal = refusalOf(answer)
  if (refusal) throw refusal
  if (answer.kind === 'replay') return answer.answer
  if (answer.kind === 'granted')
    for (const [name, value] of Object.entries(rateHeaders(answer.rate))) c.header(name, value)
  return undefined
}

export function forwardContext(c: Context<EdgeEnv>, signal: AbortSignal): ForwardContext {
  const { config, backends, objects } = c.var.edge
  return {
    backends,
    capabilityKey: config.capabilityKey,
    tenant: c.var.principal.tenant,
    requestId: c.var.requestId,
    signal,
    openDelta: (digest) => objects.tryOpen(digest),
    nowMs: Date.now,
  }
}
