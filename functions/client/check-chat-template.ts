// Renders an adapter's chat template once before it is published: one that fails would fail every request.
// Knows no model and no renderer. Invariant: whoever renders bounds the time and the memory that it takes.
import { AdapterError } from '../../adapters/errors.ts'

const QUESTION = 'What are your opening hours?'
const REMEDY = "correct it, or publish with --no-chat-template to use the base model's"
const MAX_OUTPUT_CHARS = 4 * 1024 * 1024

/** What a template is rendered with. */
const INPUT = { messages: [{ role: 'user' as const, content: QUESTION }], bos_token: '', eos_token: '' }
export type TemplateInput = typeof INPUT

/** Why a template gave no text; `message` is the reason alone. */
export class UnrenderableTemplate extends Error {}

/**
 * Throws AdapterError when `render` throws UnrenderableTemplate, gives too much, or leaves out what the user says.
 */
export async function checkChatTemplate(
  text: string,
  render: (text: string, input: TemplateInput) => Promise<string>,
): Promise<void> {
  const prompt = await render(text, INPUT).catch((error: unknown) => {
    throw error instanceof UnrenderableTemplate ? unrenderable(`"${error.message}"`) : error
  })
  if (prompt.length > MAX_OUTPUT_CHARS) throw unrenderable('it takes too much time or memory')
  if (!prompt.includes(QUESTION)) {
    throw new AdapterError('unsupported', `The adapter's chat template leaves out the user's message; ${REMEDY}.`)
  }
}

function unrenderable(reason: string): AdapterError {
  return new AdapterError('unsupported', `The adapter's chat template cannot be rendered (${reason}); ${REMEDY}.`)
}
