// The process in which adapters' chat templates run: one request in, one text or error out, in order.
// It can be ended whatever a template does, and ends by itself with the process that started it.
import type { Rendered, RenderRequest } from './adapter-templates.ts'
import { ChatTemplate } from './chat-template.ts'

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

function render({ template, input }: RenderRequest): Rendered {
  try {
    return { text: compile(template).render(input) }
  } catch (error) {
    return { error: error instanceof Error ? error.message : String(error) }
  }
}

process.on('message', (request: RenderRequest) => process.send?.(render(request)))
process.send?.({ text: '' } satisfies Rendered)
