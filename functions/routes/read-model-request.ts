// What a model is to answer, as any of its routes reads it.
import type { Context } from 'hono'
import type * as z from 'zod/mini'
import { requireScope } from '../auth/api-key.ts'
import type { EdgeEnv } from '../edge-env.ts'
import { readOwnJson } from './read-own-json.ts'
import { warmEarly } from './warm-early.ts'

const MAX_REQUEST_BYTES = 4 * 1024 * 1024

/** The JSON body; its adapter is on its way meanwhile. @throws ApiError 403 where the key lacks the scope, else as `readOwnJson` */
export async function readModelRequest<Schema extends z.ZodMiniType>(
  c: Context<EdgeEnv>,
  schema: Schema,
): Promise<z.output<Schema>> {
  requireScope(c.var.principal, 'inference')
  return readOwnJson(c, schema, MAX_REQUEST_BYTES, warmEarly(c))
}
