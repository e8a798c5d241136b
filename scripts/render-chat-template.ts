// Renders an adapter's chat template on the machine that publishes, as the backend renders it: in a process of bounded time and memory.
import { type TemplateInput, UnrenderableTemplate } from '../functions/client/check-chat-template.ts'
import { BackendError } from '../gpu-backend/errors.ts'
import { AdapterTemplates } from '../gpu-backend/model/adapter-templates.ts'

/** The machine that publishes may be slower or busier than the one that serves. */
const MAX_RENDER_MS = 10_000

/** Throws UnrenderableTemplate. */
export async function renderChatTemplate(text: string, { messages, ...specials }: TemplateInput): Promise<string> {
  const templates = new AdapterTemplates(MAX_RENDER_MS)
  try {
    return await templates.render('publisher', text, { messages, extras: {}, specials })
  } catch (error) {
    if (error instanceof BackendError && error.code === 'bad_request') throw new UnrenderableTemplate(error.message)
    throw error
  } finally {
    templates.close()
  }
}
