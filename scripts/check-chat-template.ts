// Renders an adapter's chat template once before it is published: one that fails would fail every request.
// Knows no model. Invariant: the same Jinja as the backend's, in a process of bounded time and memory.
import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import * as z from 'zod'
import { AdapterError } from '../adapters/errors.ts'

const RENDERER = fileURLToPath(new URL('./render-chat-template.ts', import.meta.url))
const QUESTION = 'What are your opening hours?'
const REMEDY = "correct it, or publish with --no-chat-template to use the base model's"
/** The longest templates in use take a few milliseconds and megabytes. */
const MAX_RENDER_MS = 10_000
const MAX_MEMORY_MB = 128
const MAX_OUTPUT_BYTES = 4 * 1024 * 1024

const Rendered = z.union([z.object({ prompt: z.string() }), z.object({ error: z.string() })])
type Rendered = z.infer<typeof Rendered>

/** Throws AdapterError when the template can't be rendered within bounds or leaves out what the user says. */
export async function checkChatTemplate(text: string): Promise<void> {
  const rendered = await render(text)
  if ('error' in rendered) {
    const reason = rendered.error.split('\n')[0]
    throw new AdapterError('unsupported', `The adapter's chat template cannot be rendered (${reason}); ${REMEDY}.`)
  }
  if (!rendered.prompt.includes(QUESTION)) {
    throw new AdapterError('unsupported', `The adapter's chat template leaves out the user's message; ${REMEDY}.`)
  }
}

function render(text: string): Promise<Rendered> {
  const limits = { timeout: MAX_RENDER_MS, maxBuffer: MAX_OUTPUT_BYTES, killSignal: 'SIGKILL' } as const
  return new Promise((resolve) => {
    const options = [`--max-old-space-size=${MAX_MEMORY_MB}`, RENDERER]
    const child = execFile(process.execPath, options, limits, (failure, output) => {
      if (failure !== null) resolve({ error: 'it takes too much time or memory' })
      else resolve(Rendered.parse(JSON.parse(output)))
    })
    child.stdin?.on('error', () => undefined)
    child.stdin?.end(JSON.stringify({ text, messages: [{ role: 'user', content: QUESTION }] }))
  })
}
