// The fields that requests of several routes have, beside those of sampling.
import * as z from 'zod/mini'

const MAX_MODEL_CHARS = 256
const MAX_CHOICES = 16

export const modelField = z.string().check(z.minLength(1), z.maxLength(MAX_MODEL_CHARS))
export const choicesField = z.nullish(z.int().check(z.positive(), z.lte(MAX_CHOICES)))
/** OpenAI's names for the end user, the older one first. */
export const endUserFields = { user: z.nullish(z.string()), safety_identifier: z.nullish(z.string()) }

const EndUserFields = z.object(endUserFields)

/** The end user, as the caller names it: a canary treats each alike. Undefined where it names none. */
export function endUserOf({ user, safety_identifier: identifier }: z.infer<typeof EndUserFields>): string | undefined {
  return user || identifier || undefined
}

export const streamFields = {
  stream: z.nullish(z.boolean()),
  stream_options: z.nullish(z.object({ include_usage: z.nullish(z.boolean()) })),
}
