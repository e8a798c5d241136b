// `polylora chat`: talks to an adapter (or the base model) through the edge, as any OpenAI client would.
import { createInterface } from 'node:readline/promises'
import * as z from 'zod'
import { serverSentData } from '../../functions/client/server-sent-data.ts'
import { CliError } from '../cli-error.ts'
import { type Command, onlyOperand, print, type Terminal } from '../command.ts'
import { callEdge, type EdgeAddress, isBrokenConnection, noEdge } from '../edge-client.ts'
import { EDGE_OPTIONS, edgeAddress } from '../edge-options.ts'

const PATH = '/v1/chat/completions'

interface Message {
  readonly role: 'user' | 'assistant'
  readonly content: string
}

const Chunk = z.looseObject({
  choices: z
    .array(
      z.looseObject({
        delta: z.looseObject({ content: z.string().nullish() }).optional(),
        finish_reason: z.string().nullish(),
      }),
    )
    .default([]),
  error: z.looseObject({ message: z.string() }).optional(),
})

export const chat: Command = {
  summary: 'Asks a model one question (--message), or talks with it until the end of input.',
  operands: '<model>',
  options: { message: { type: 'string', value: 'TEXT', help: 'ask this and end' }, ...EDGE_OPTIONS },
  notes: ['A model is tenant/name, tenant/name@sha256:… for one of its versions, or the base model by its own name.'],
  async run(args, terminal) {
    const model = onlyOperand(args, 'model')
    const edge = edgeAddress(args, terminal)
    const answerTo = async (messages: readonly Message[]) => {
      const answer = await ask(edge, model, messages, args.flag('json') ? undefined : terminal)
      print(args, terminal, { model, answer }, '')
      return answer
    }
    const message = args.text('message')
    if (message === undefined) await converse(answerTo, terminal)
    else await answerTo([{ role: 'user', content: message }])
  },
}

/** Asks each line of the input, after what was said before, until its end. */
async function converse(
  answerTo: (messages: readonly Message[]) => Promise<string>,
  terminal: Terminal,
): Promise<void> {
  const messages: Message[] = []
  const turn = async (content: string) => {
    messages.push({ role: 'user', content })
    try {
      messages.push({ role: 'assistant', content: await answerTo(messages) })
    } catch (error) {
      // A limit, or an answer that broke off: whoever sits there may go on, as if the question had not been asked.
      if (!(error instanceof CliError) || !process.stdin.isTTY) throw error
      messages.pop()
      terminal.stderr.write(`\npolylora: ${error.message}\n`)
    }
  }
  const lines = createInterface({ input: process.stdin, output: process.stderr, prompt: '> ' })
  // Input that is piped may end while an answer is awaited; the lines before its end are still asked.
  let hasEnded = false
  lines.once('close', () => {
    hasEnded = true
  })
  lines.prompt()
  for await (const content of lines) {
    if (content.trim() !== '') await turn(content)
    if (!hasEnded) lines.prompt()
  }
}

/** Streams the answer to the terminal, if one is given, and returns it whole. */
async function ask(
  edge: EdgeAddress,
  model: string,
  messages: readonly Message[],
  terminal: Terminal | undefined,
): Promise<string> {
  const body = JSON.stringify({ model, messages, stream: true, temperature: 0 })
  const response = await callEdge(edge, PATH, { method: 'POST', body })
  if (response.body === null || !response.headers.get('content-type')?.startsWith('text/event-stream')) {
    await response.body?.cancel()
    throw noEdge(edge, PATH)
  }
  let answer = ''
  let isWhole = false
  for await (const { error, choices } of chunks(edge, response.body)) {
    if (error !== undefined) throw new CliError(error.message)
    const text = choices[0]?.delta?.content ?? ''
    terminal?.stdout.write(text)
    answer += text
    isWhole ||= typeof choices[0]?.finish_reason === 'string'
  }
  if (!isWhole) throw brokeOff()
  return answer
}

function brokeOff(): CliError {
  return new CliError('The answer broke off before its end; ask again.', 3)
}

async function* chunks(edge: EdgeAddress, body: ReadableStream<Uint8Array>): AsyncGenerator<z.infer<typeof Chunk>> {
  try {
    for await (const data of serverSentData(body)) yield Chunk.parse(data)
  } catch (error) {
    if (error instanceof SyntaxError || error instanceof z.ZodError) throw noEdge(edge, PATH)
    throw isBrokenConnection(error) ? brokeOff() : error
  }
}
