// Renders an adapter's chat template once before it is published: one that fails would fail every request.
// Knows no model. Invariant: uses the same Jinja as the backend.
import { Template } from '@huggingface/jinja'
import { AdapterError } from '../adapters/errors.ts'

const QUESTION = 'What are your opening hours?'
const REMEDY = "correct it, or publish with --no-chat-template to use the base model's"

/** Throws AdapterError when the template can't be rendered or leaves out what the user says. */
export function checkChatTemplate(text: string): void {
  let prompt: string
  try {
    const messages = [{ role: 'user', content: QUESTION }]
    prompt = new Template(text).render({ messages, add_generation_prompt: true, bos_token: '', eos_token: '' })
  } catch (error) {
    const reason = error instanceof Error ? error.message.split('\n')[0] : String(error)
    throw new AdapterError('unsupported', `The adapter's chat template cannot be rendered (${reason}); ${REMEDY}.`)
  }
  if (!prompt.includes(QUESTION)) {
    throw new AdapterError('unsupported', `The adapter's chat template leaves out the user's message; ${REMEDY}.`)
  }
}
