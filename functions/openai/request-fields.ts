// The fields that requests of several routes have, beside those of sampling.
import * as z from 'zod/mini'

const MAX_MODEL_CHARS = 256
const MAX_CHOICES = 16

export const modelField = z.string().check(z.minLength(1), z.maxLength(MAX_MODEL_CHARS))
export const choicesField = z.nullish(z.int().check(z.positive(), z.lte(MAX_CHOICES)))
export const streamFields = {
  stream: z.nullish(z.boolean()),
  stream_options: z.nullish(z.object({ include_usage: z.nullish(z.boolean()) })),
}
