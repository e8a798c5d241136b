// The process in which check-chat-template.ts renders a stranger's template: it can be ended, whatever it does. A thread
// would not do: when its heap is full, V8 ends the whole process. Reads {text, messages} from standard input.
import { text as readAll } from 'node:stream/consumers'
import { Template } from '@huggingface/jinja'

const { text, messages } = JSON.parse(await readAll(process.stdin))
try {
  const prompt = new Template(text).render({ messages, add_generation_prompt: true, bos_token: '', eos_token: '' })
  process.stdout.write(JSON.stringify({ prompt }))
} catch (error) {
  process.stdout.write(JSON.stringify({ error: error instanceof Error ? error.message : String(error) }))
}
