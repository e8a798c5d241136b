// The meter of a tenant, wherever it runs.
import type { Bindings } from '../env.ts'

export function meterOf({ METER: meters }: Bindings, tenant: string) {
  return meters.get(meters.idFromName(tenant))
}
