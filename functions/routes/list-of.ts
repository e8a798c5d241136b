// A list as the API gives it.
import * as z from 'zod/mini'

export function listOf<Item extends z.ZodMiniType>(item: Item) {
  return z.object({ object: z.literal('list'), data: z.array(item) })
}
