// Renders one chat template, away from the page: whoever started this worker ends it, whatever the template does.
import { Template } from '@huggingface/jinja'
import type { TemplateInput } from '../../client/check-chat-template.ts'

export type Rendered = { readonly text: string } | { readonly error: string }

addEventListener('message', ({ data }: MessageEvent<{ template: string; input: TemplateInput }>) => {
  postMessage(render(data.template, data.input))
})

function render(template: string, input: TemplateInput): Rendered {
  try {
    return {
      text: new Template(template).render({ tools: null, documents: null, add_generation_prompt: true, ...input }),
    }
  } catch (error) {
    return { error: error instanceof Error ? error.message : String(error) }
  }
}
