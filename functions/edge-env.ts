// What every route is given: the bindings, and what the middleware found out about the request.
import type { Principal } from './auth/api-key.ts'
import type { Edge } from './edge.ts'
import type { Bindings } from './env.ts'
import type { RateState } from './metering/reservation.ts'
import type { Warming } from './router/call-backend.ts'

/** Hono's context type. */
export interface EdgeEnv {
  Bindings: Bindings
  Variables: {
    requestId: string
    edge: Edge
    principal: Principal
    rate?: RateState
    warming?: Promise<Warming | undefined>
  }
}
