// The names of tenants and adapters: what they may consist of. They appear in URLs, in `model`, and in usage records.
import * as z from 'zod/mini'
import { Digest } from '../../gpu-backend/protocol.ts'

/** Lower-case letters, digits, dot, dash and underscore; starts with a letter or digit; at most 64 characters. */
export const Name = z
  .string()
  .check(
    z.regex(
      /^[a-z0-9][a-z0-9._-]{0,63}$/,
      'must be 1 to 64 of a-z, 0-9, dot, dash, underscore, starting with a-z or 0-9',
    ),
  )

export interface AdapterName {
  readonly tenant: string
  readonly name: string
}

/** What requests call it by. */
export function fullName({ tenant, name }: AdapterName): string {
  return `${tenant}/${name}`
}

const AdapterModel = z.object({ tenant: Name, name: Name, version: z.optional(Digest) })

/** `tenant/adapter`, or `tenant/adapter@sha256:…` for one of its versions; undefined where `model` isn't of that form. */
export function tryParseAdapterName(model: string): z.infer<typeof AdapterModel> | undefined {
  const [full = '', version, ...after] = model.split('@')
  const [tenant, name, ...rest] = full.split('/')
  if (rest.length > 0 || after.length > 0) return undefined
  const parsed = AdapterModel.safeParse({ tenant, name, version })
  return parsed.success ? parsed.data : undefined
}
