// The meter of a tenant, wherever it runs, and how it is asked.
import type { Bindings } from '../env.ts'
import { unavailable } from '../errors.ts'
import type { TenantMeter } from './tenant-meter.ts'

export type Meter = DurableObjectStub<TenantMeter>

export function meterOf({ METER: meters }: Bindings, tenant: string): Meter {
  return meters.get(meters.idFromName(tenant))
}

/**
 * What a meter says to `ask`, which must mean the same however often it is heard; `meter` gives a new stub each time, since one
 * that has failed stays broken.
 * @param about says in the log for what
 * @param onUnknown called where the meter may have done what it was asked, though it never said so
 * @throws ApiError 503 where the meter cannot be reached
 */
export async function askMeter<T>(
  meter: () => Meter,
  ask: (meter: Meter) => Promise<T>,
  about: object,
  onUnknown: () => void = () => undefined,
): Promise<T> {
  try {
    // A second time, since a meter that is being moved or updated answers then; one with too much to do would have still more.
    return await ask(meter()).catch((error: unknown) => {
      if (isOverloaded(error)) throw error
      return ask(meter())
    })
  } catch (error) {
    console.error(JSON.stringify({ event: 'meter_unreachable', ...about, reason: String(error) }))
    if (!isOverloaded(error)) onUnknown()
    throw unavailable('meter_unavailable', 'Usage cannot be metered at the moment: try again shortly.')
  }
}

/** As `askMeter`, of a tenant's meter. */
export function askMeterOf<T>(env: Bindings, tenant: string, ask: (meter: Meter) => Promise<T>): Promise<T> {
  return askMeter(() => meterOf(env, tenant), ask, { tenant })
}

function isOverloaded(error: unknown): boolean {
  return error instanceof Error && 'overloaded' in error && error.overloaded === true
}
