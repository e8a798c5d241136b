// What a key may be allowed to do.
import * as z from 'zod/mini'

export const Scope = z.enum(['inference', 'adapters', 'usage'])
export type Scope = z.infer<typeof Scope>
