// The names of tenants and adapters: what they may consist of. They appear in URLs, in `model`, and in usage records.
import * as z from 'zod/mini'

/** Lower-case letters, digits, dot, dash and underscore; starts with a letter or digit; at most 64 characters. */
export const Name = z
  .string()
  .check(
    z.regex(
      /^[a-z0-9][a-z0-9._-]{0,63}$/,
      'must be 1 to 64 of a-z, 0-9, dot, dash, underscore, starting with a-z or 0-9',
    ),
  )

/** `tenant/adapter`, or undefined where `model` isn't of that form. */
export function tryParseAdapterName(model: string): { tenant: string; name: string } | undefined {
  const [tenant, name, ...rest] = model.split('/')
  if (rest.length > 0) return undefined
  const parsed = z.object({ tenant: Name, name: Name }).safeParse({ tenant, name })
  return parsed.success ? parsed.data : undefined
}
