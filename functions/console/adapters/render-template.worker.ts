// Renders one chat template as the backend renders it, away from the page: whoever started this worker ends it, whatever the template does.
import { ChatTemplate } from '../../../gpu-backend/model/chat-template.ts'
import type { TemplateInput } from '../../client/check-chat-template.ts'

export type Rendered = { readonly text: string } | { readonly error: string }

addEventListener('message', ({ data }: MessageEvent<{ template: string; input: TemplateInput }>) => {
  postMessage(render(data.template, data.input))
})

function render(template: string, input: TemplateInput): Rendered {
  try {
    return { text: new ChatTemplate(template).render(input) }
  } catch (error) {
    return { error: error instanceof Error ? error.message : String(error) }
  }
}
