// One question to the bare base model and to every sample adapter, all at once, through the edge.
// Knows the edge's public API only, as any client does.
import { stripVTControlCharacters } from 'node:util'
import * as z from 'zod'
import { callEdgeJson } from '../edge-client.ts'

const QUESTION = 'What is your return policy?'
const MAX_TOKENS = 96

export interface DemoModel {
  readonly model: string
  readonly apiKey: string
}

const Answer = z.object({
  choices: z.array(z.object({ message: z.object({ content: z.string() }) })).min(1),
  polylora: z.object({
    batch: z.object({ rows: z.number(), deltas: z.number() }),
    tokens_per_second: z.number().nullable(),
  }),
})
type Answer = z.infer<typeof Answer>

interface Row {
  readonly model: string
  readonly answer: Answer
}

/** Asks all at once and returns what to print. Throws CliError where one of them fails. */
export async function runDemo(edgeUrl: string, models: readonly DemoModel[], columns: number): Promise<string> {
  const rows = await Promise.all(
    models.map(async ({ model, apiKey }): Promise<Row> => {
      const body = JSON.stringify({
        model,
        messages: [{ role: 'user', content: QUESTION }],
        temperature: 0,
        max_tokens: MAX_TOKENS,
      })
      const init = { method: 'POST', body }
      return { model, answer: await callEdgeJson({ url: edgeUrl, apiKey }, '/v1/chat/completions', Answer, init) }
    }),
  )
  return formatDemo(rows, columns)
}

function formatDemo(rows: readonly Row[], columns: number): string {
  const nameWidth = Math.max(...rows.map(({ model }) => model.length))
  const speedWidth = 'tokens/s'.length
  const textWidth = Math.max(24, Math.min(columns, 110) - nameWidth - speedWidth - 8)
  const line = (name: string, text: string, speed: string) =>
    `  ${name.padEnd(nameWidth)}  ${text.padEnd(textWidth)}  ${speed.padStart(speedWidth)}`.trimEnd()
  const lines = [`Question to all of them at once: ${QUESTION}`, '', line('model', 'answer', 'tokens/s')]
  for (const { model, answer } of rows) {
    const [first = '', ...more] = wrap(plain(answer.choices[0]!.message.content), textWidth)
    lines.push(line(model, first, String(answer.polylora.tokens_per_second ?? '-')))
    for (const text of more) lines.push(line('', text, ''))
  }
  const fullest = rows
    .map(({ answer }) => answer.polylora.batch)
    .sort((a, b) => b.deltas - a.deltas || b.rows - a.rows)[0]
  if (fullest && fullest.deltas > 1) {
    lines.push(
      '',
      `${fullest.deltas} different adapters shared one batch of ${fullest.rows} requests on one base model.`,
    )
  }
  return lines.join('\n')
}

/** One line, without anything that would move a terminal's cursor. */
function plain(text: string): string {
  return stripVTControlCharacters(text).replaceAll(/\s+/g, ' ').trim()
}

function wrap(text: string, width: number): string[] {
  const lines: string[] = []
  let line = ''
  const words = text.split(' ').flatMap((word) => word.match(new RegExp(`.{1,${width}}`, 'gu')) ?? [''])
  for (const word of words) {
    if (line && line.length + 1 + word.length > width) {
      lines.push(line)
      line = word
    } else line = line ? `${line} ${word}` : word
  }
  return [...lines, line]
}
