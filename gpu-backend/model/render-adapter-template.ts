// The process in which adapters' chat templates run: one request in, one text or error out, in order.
// It can be ended whatever a template does, and ends by itself with the process that started it.
import { Template } from '@huggingface/jinja'
import type { Rendered, RenderRequest } from './adapter-templates.ts'

/** Compiled templates kept, the oldest dropped first. */
const MAX_COMPILED = 64

const compiled = new Map<string, Template>()

function compile(text: string): Template {
  const known = compiled.get(text)
  if (known) return known
  const template = new Template(text)
  const [oldest] = compiled.keys()
  if (oldest !== undefined && compiled.size >= MAX_COMPILED) compiled.delete(oldest)
  compiled.set(text, template)
  return template
}

function render({ template, input }: RenderRequest): Rendered {
  try {
    return { text: compile(template).render({ ...input, add_generation_prompt: true }) }
  } catch (error) {
    return { error: error instanceof Error ? error.message : String(error) }
  }
}

process.on('message', (request: RenderRequest) => process.send?.(render(request)))
process.send?.({ text: '' } satisfies Rendered)
