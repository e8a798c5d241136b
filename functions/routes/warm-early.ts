// Brings an adapter to its backend while the prompt is still being read: clients write `model` before `messages`, so the
// name is there with the first bytes. A guess that is wrong (a canary, another backend in the end) costs nothing but work.
import type { Context } from 'hono'
import type { EdgeEnv } from '../edge-env.ts'
import { type ResolvedModel, tryResolveAlias } from '../registry/resolve-model.ts'
import { type BackendContext, type Warming, warmDelta } from '../router/call-backend.ts'
import { backendContext } from './backend-context.ts'

const MODEL_FIRST = /^\s*\{\s*"model"\s*:\s*"([^"\\]*)"/
/** A name is shorter: where it isn't among these characters, it isn't first. */
const LOOK_AT_CHARS = 512

/** To be called with what has been read of the body, as it grows. */
export function warmEarly(c: Context<EdgeEnv>): (text: string) => void {
  // Whom a limit or a balance may refuse brings nothing anywhere before the meter has been asked.
  const { billing, requests_per_minute: requests, tokens_per_minute: tokens } = c.var.principal.terms
  let looking = billing === 'postpaid' && requests === null && tokens === null
  return (text) => {
    if (!looking) return
    const model = MODEL_FIRST.exec(text.slice(0, LOOK_AT_CHARS))?.[1]
    looking = model === undefined && text.length < LOOK_AT_CHARS
    if (model !== undefined)
      c.set(
        'warming',
        warmNamed(c, model).catch(() => undefined),
      )
  }
}

/** What is on its way already, where it is what is needed; else it sets out now. */
export async function warm(c: Context<EdgeEnv>, { digest, base }: ResolvedModel): Promise<Warming | undefined> {
  if (digest === null) return undefined
  const early = await c.var.warming
  return early?.digest === digest ? early : warmDelta(contextOf(c, base), digest)
}

async function warmNamed(c: Context<EdgeEnv>, model: string): Promise<Warming | undefined> {
  const own = await tryResolveAlias(c, model)
  return own && warmDelta(contextOf(c, own.alias.base), own.alias.digest)
}

function contextOf(c: Context<EdgeEnv>, base: string): BackendContext {
  // Whatever the text is called: nobody reads what a delta on its way was refused for.
  return backendContext(c, base, c.req.raw.signal, 'messages')
}
