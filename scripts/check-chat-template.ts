// Renders an adapter's chat template once before it is published: one that fails would fail every request.
// Knows no model. Invariant: rendered as the backend renders it, in a process of bounded time and memory.
import { AdapterError } from '../adapters/errors.ts'
import { BackendError } from '../gpu-backend/errors.ts'
import { AdapterTemplates } from '../gpu-backend/model/adapter-templates.ts'

const QUESTION = 'What are your opening hours?'
const REMEDY = "correct it, or publish with --no-chat-template to use the base model's"
/** The machine that publishes may be slower or busier than the one that serves. */
const MAX_RENDER_MS = 10_000
const MAX_OUTPUT_CHARS = 4 * 1024 * 1024

/** Throws AdapterError when the template can't be rendered within bounds or leaves out what the user says. */
export async function checkChatTemplate(text: string): Promise<void> {
  const prompt = await render(text)
  if (prompt.length > MAX_OUTPUT_CHARS) throw unrenderable('it takes too much time or memory')
  if (!prompt.includes(QUESTION)) {
    throw new AdapterError('unsupported', `The adapter's chat template leaves out the user's message; ${REMEDY}.`)
  }
}

async function render(text: string): Promise<string> {
  const templates = new AdapterTemplates(MAX_RENDER_MS)
  try {
    return await templates.render(text, {
      messages: [{ role: 'user', content: QUESTION }],
      bos_token: '',
      eos_token: '',
    })
  } catch (error) {
    if (error instanceof BackendError && error.code === 'bad_request') throw unrenderable(`"${error.message}"`)
    throw error
  } finally {
    templates.close()
  }
}

function unrenderable(reason: string): AdapterError {
  return new AdapterError('unsupported', `The adapter's chat template cannot be rendered (${reason}); ${REMEDY}.`)
}
