// The process in which adapters' chat templates run, and the model's with long conversations: one request in, one text or error out, in order, with the time it took.
// It can be ended whatever a template does, and ends by itself with the process that started it.
import { runInThisContext } from 'node:vm'
import type { Rendered, RenderRequest } from './adapter-templates.ts'
import { ChatTemplate } from './chat-template.ts'
import { templateInput } from './template-input.ts'

/** More than any prompt that fits a context; what is longer stays here, so that nobody else's memory holds it. */
const MAX_TEXT_CHARS = 8_000_000
/** A template writes its refusals itself. */
const MAX_REASON_CHARS = 500
/** Compiled templates kept, the oldest dropped first. */
const MAX_COMPILED = 64

const compiled = new Map<string, ChatTemplate>()

function compile(text: string): ChatTemplate {
  const known = compiled.get(text)
  if (known) return known
  const template = new ChatTemplate(text)
  const [oldest] = compiled.keys()
  if (oldest !== undefined && compiled.size >= MAX_COMPILED) compiled.delete(oldest)
  compiled.set(text, template)
  return template
}

/** What a script is, for Node to stop it whatever it does: it runs the rendering that is at hand. */
const SCRIPT = 'polyloraRender()'

function render({ template, messages, extras, specials, maxWallMs: timeout }: RenderRequest): Rendered {
  const before = process.threadCpuUsage()
  const end = (outcome: Partial<Record<'text' | 'error', string>>): Rendered => {
    // Of this thread alone: a busy machine makes everything slow, which is nobody's fault.
    const { user, system } = process.threadCpuUsage(before)
    return { ...outcome, cpuMs: (user + system) / 1000 }
  }
  try {
    const polyloraRender = () => compile(template).render(templateInput(messages, extras, specials))
    Object.assign(globalThis, { polyloraRender })
    const text: string = runInThisContext(SCRIPT, { timeout })
    if (text.length <= MAX_TEXT_CHARS) return end({ text })
    return end({ error: `it makes ${text.length} characters of them, which fit no context` })
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ERR_SCRIPT_EXECUTION_TIMEOUT') return end({})
    return end({ error: (error instanceof Error ? error.message : String(error)).slice(0, MAX_REASON_CHARS) })
  }
}

process.on('message', (request: RenderRequest) => process.send?.(render(request)))
process.send?.({ cpuMs: 0 } satisfies Rendered)
