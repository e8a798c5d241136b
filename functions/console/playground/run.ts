// One model's answer while it comes: a state that the stream's events move on.
import { EdgeError } from '../api/edge.ts'
import { type AnswerEvent, type AskRequest, streamAnswer } from '../api/stream-answer.ts'

export interface Run {
  readonly request: AskRequest
  /** Of each choice: one, unless `n` asked for more. A call of a tool is a line of its own. */
  readonly texts: readonly string[]
  readonly status: 'waiting' | 'streaming' | 'done' | 'stopped' | 'failed'
  /** From the click to the first text, as this page saw it. */
  readonly ttftMs: number | undefined
  readonly result: Extract<AnswerEvent, { kind: 'done' }> | undefined
  readonly error: string | undefined
}

/** Asks, and reports each state. Never rejects. */
export async function runRequest(
  apiKey: string,
  request: AskRequest,
  signal: AbortSignal,
  report: (run: Run) => void,
): Promise<void> {
  const startedMs = performance.now()
  let run: Run = { request, texts: [], status: 'waiting', ttftMs: undefined, result: undefined, error: undefined }
  const move = (change: Partial<Run>) => {
    run = { ...run, ...change }
    report(run)
  }
  move({})
  try {
    for await (const event of streamAnswer(apiKey, request, signal)) {
      if (event.kind === 'done') {
        move({ status: 'done', result: event })
        continue
      }
      const ttftMs = run.ttftMs ?? performance.now() - startedMs
      const fresh = event.kind === 'text' ? event.text : callText(event, run.texts[event.choice])
      move({ texts: withText(run.texts, event.choice, fresh), status: 'streaming', ttftMs })
    }
  } catch (error) {
    if (signal.aborted) move({ status: 'stopped' })
    else move({ status: 'failed', error: error instanceof EdgeError ? error.message : String(error) })
  }
}

/** What goes on from `said` as a line of its own. */
function callText({ name, given }: Extract<AnswerEvent, { kind: 'call' }>, said: string | undefined): string {
  return `${said ? '\n' : ''}${name}(${given})`
}

function withText(texts: readonly string[], choice: number, fresh: string): readonly string[] {
  const count = Math.max(texts.length, choice + 1)
  return Array.from({ length: count }, (_, i) => (texts[i] ?? '') + (i === choice ? fresh : ''))
}
