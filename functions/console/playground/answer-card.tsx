// One model's answer: the text as it comes, what was measured, and the request as a line for a shell.
import type { Extension } from '../../openai/answer-schemas.ts'
import { streamedBody } from '../api/stream-answer.ts'
import { Badge, type Tone } from '../ui/badge.tsx'
import { CodeLine } from '../ui/code-line.tsx'
import { curlLine } from '../ui/curl-line.ts'
import { Digest } from '../ui/digest.tsx'
import { count, milliseconds, price, shortModel } from '../ui/format.ts'
import type { Run } from './run.ts'

const STATUS: Record<Run['status'], { tone: Tone; word: string }> = {
  waiting: { tone: 'none', word: 'Waiting' },
  streaming: { tone: 'info', word: 'Answering' },
  done: { tone: 'good', word: 'Done' },
  stopped: { tone: 'none', word: 'Stopped' },
  failed: { tone: 'bad', word: 'Failed' },
}

const TIER = { device: 'in the batch', host: 'in memory', disk: 'on disk' }

interface MeasureProps {
  readonly name: string
  readonly value: string | number | undefined
  readonly detail?: string | undefined
}

export function AnswerCard({ run, isBase }: { readonly run: Run; readonly isBase: boolean }) {
  const { request, status, texts, result } = run
  const isBusy = status === 'waiting' || status === 'streaming'
  const { model } = request.body
  const curl = curlLine(location.origin + request.path, streamedBody(request))
  return (
    <article class="card answer" aria-label={`Answer of ${model}`}>
      <header class="card-header">
        <div>
          <h2>{shortModel(model)}</h2>
          <p>
            {isBase ? 'The bare base model' : result?.measured.adapter && <Digest value={result.measured.adapter} />}
          </p>
        </div>
        <Badge tone={STATUS[status].tone}>{result?.reason === 'length' ? 'Cut by length' : STATUS[status].word}</Badge>
      </header>
      <div class="answer-text" aria-live="polite" aria-busy={isBusy}>
        {texts.map((text, choice) => (
          <p key={choice}>{text}</p>
        ))}
        {run.error && <p class="bad-text">{run.error}</p>}
        {isBusy && <span class="caret" aria-hidden="true" />}
      </div>
      <dl class="measures">
        <Measure name="First text" value={run.ttftMs === undefined ? undefined : milliseconds(run.ttftMs)} />
        <Measure name="Tokens/s" value={result && (result.measured.tokens_per_second ?? '–')} />
        <Measure
          name="Weights"
          value={result && warmth(result.measured)}
          detail={result && whereabouts(result.measured)}
        />
        <Measure name="Price" value={result && price(result.measured.price_nano)} />
        <Measure
          name="Tokens"
          value={result && `${count(result.usage.prompt_tokens)} + ${count(result.usage.completion_tokens)}`}
        />
      </dl>
      <details class="curl">
        <summary>curl</summary>
        <CodeLine text={curl} label={`Copy the curl line for ${model}`} />
      </details>
    </article>
  )
}

function Measure({ name, value, detail }: MeasureProps) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>
        {value ?? '–'}
        {detail && <small>{detail}</small>}
      </dd>
    </div>
  )
}

/** Whether the adapter's bytes had to be sent to the backend first; the base model's never have to. */
function warmth({ adapter, cold }: Extension): string {
  return adapter !== null && cold ? 'Cold' : 'Warm'
}

/** Where the weights were when the request arrived. */
function whereabouts({ adapter, cold, tier }: Extension): string | undefined {
  if (adapter === null) return 'always loaded'
  if (cold) return 'sent first'
  return tier === null ? undefined : TIER[tier]
}
