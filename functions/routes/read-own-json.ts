import type { Context } from 'hono'
import type * as z from 'zod/mini'
import { identify } from '../auth/identify.ts'
import type { EdgeEnv } from '../edge-env.ts'
import { readJson } from './read-json.ts'

/** The JSON body of a tenant's request, as `readJson` reads it. @throws ApiError as that, and 401 where the key has ended meanwhile */
export async function readOwnJson<Schema extends z.ZodMiniType>(
  c: Context<EdgeEnv>,
  schema: Schema,
  maxBytes: number,
  onText?: (text: string) => void,
): Promise<z.output<Schema>> {
  const body = await readJson(c.req.raw, schema, maxBytes, onText)
  await identify(c)
  return body
}
