// Questions to the model that runs in this browser, with whichever adapter; the base is never loaded again for another.
import { useEffect, useRef, useState } from 'preact/hooks'
import type { LocalModel, Progress } from '../../../gpu-backend/browser/index.ts'
import { AdapterSummary } from '../../routes/adapter-answers.ts'
import { useList } from '../api/use-edge.ts'
import { useTask } from '../loading.ts'
import { useTenant } from '../session.ts'
import { Badge } from '../ui/badge.tsx'
import { Button } from '../ui/button.tsx'
import { type Draft, newDraft, readDraft } from '../ui/draft.ts'
import { DraftFields } from '../ui/draft-fields.tsx'
import { Select } from '../ui/field.tsx'
import { Form } from '../ui/form.tsx'
import { count, milliseconds } from '../ui/format.ts'
import { Failure, WhenLoaded } from '../ui/states.tsx'
import { Download } from './download.tsx'

const MAX_TOKENS = 96
const BARE = ''
/** Failures after which a model answers nothing more: the GPU is gone, or its worker. */
const LOST = ['unsupported', 'internal']

interface LocalAnswer {
  /** What answered. */
  readonly name: string
  readonly text: string
  readonly isStopped?: boolean
  readonly measured?: { readonly tokens: number; readonly ttftMs: number; readonly totalMs: number }
}

/** What is asked, and of which adapter. */
interface LocalInput {
  readonly name: string
  readonly draft: Draft
}

export const FIRST_INPUT: LocalInput = { name: BARE, draft: newDraft(MAX_TOKENS) }

interface LocalBenchProps {
  readonly model: LocalModel
  readonly input: LocalInput
  onInput(input: LocalInput): void
  /** Closes the model, and opens it once more. */
  onReopen(): void
}

export function LocalBench({ model, input, onInput, onReopen }: LocalBenchProps) {
  const { name, draft } = input
  const { apiKey } = useTenant()
  const adapters = useList(apiKey, '/v1/adapters', AdapterSummary)
  const [answer, setAnswer] = useState<LocalAnswer>()
  const [progress, setProgress] = useState<Progress>()
  const abort = useRef<AbortController>(undefined)
  const task = useTask()
  useEffect(() => () => abort.current?.abort(), [])
  const question = readDraft(draft)
  const ask = () => {
    if (!question || task.isBusy) return
    abort.current = new AbortController()
    const { signal } = abort.current
    const shown = name === BARE ? model.manifest.base.name : name
    let text = ''
    const generate = async () => {
      setAnswer({ name: shown, text })
      const load = () => model.load(name, setProgress, signal).finally(() => setProgress(undefined))
      const adapter = name === BARE ? null : await load()
      for await (const event of model.generate({ adapter, ...question }, signal)) {
        if (event.event === 'text') {
          text += event.text
          setAnswer({ name: shown, text })
        } else if (event.event === 'done') {
          const { ttftMs, totalMs, usage } = event
          setAnswer({ name: shown, text, measured: { tokens: usage.completion_tokens, ttftMs, totalMs } })
        }
      }
    }
    void task.run(async () => {
      await generate().catch((error: unknown) => {
        if (!signal.aborted) throw error
      })
      if (signal.aborted) setAnswer({ name: shown, text, isStopped: true })
    })
  }
  return (
    // Without the edge there is still the base, which is here.
    <WhenLoaded loaded={adapters.error ? { ...adapters, value: adapters.value ?? [] } : adapters}>
      {(list) => (
        <>
          <Form class="card" onSubmit={ask}>
            <Select
              label="Model"
              value={name}
              options={Object.fromEntries([
                [BARE, 'The bare base model'],
                ...list.map(({ id, may_leave: may }) => [id, may ? id : `${id} (on the backends only)`]),
              ])}
              hint="The operator decides for each adapter whether it may leave the edge."
              onChange={(name) => onInput({ ...input, name })}
            />
            <DraftFields draft={draft} onChange={(draft) => onInput({ ...input, draft })} onAsk={ask} />
            <div class="actions">
              <Button kind="primary" type="submit" icon="play" isBusy={task.isBusy} disabled={!question}>
                Ask here
              </Button>
              {task.isBusy && <Button onClick={() => abort.current?.abort()}>Stop</Button>}
              <span class="hint">
                Runs on {model.device === 'webgpu' ? 'your GPU (WebGPU)' : 'your CPU (WebAssembly)'}.
              </span>
            </div>
            {progress && <Download progress={progress} />}
            {task.error && <Failure error={task.error} {...(isLost(task.error) ? { onRetry: onReopen } : {})} />}
          </Form>
          {answer && (
            <article class="card" aria-label="Answer in this browser">
              <header class="card-header">
                <h2>{answer.name}</h2>
                {answer.measured && <Badge tone="good">Done</Badge>}
                {answer.isStopped && <Badge>Stopped</Badge>}
              </header>
              <div class="answer-text" aria-live="polite" aria-busy={task.isBusy}>
                {answer.text}
                {task.isBusy && <span class="caret" aria-hidden="true" />}
              </div>
              {answer.measured && (
                <p class="hint">
                  First text after {milliseconds(answer.measured.ttftMs)}, {count(answer.measured.tokens)} tokens in{' '}
                  {milliseconds(answer.measured.totalMs)}. Nothing was sent.
                </p>
              )}
            </article>
          )}
        </>
      )}
    </WhenLoaded>
  )
}

function isLost(error: Error): boolean {
  return 'code' in error && LOST.includes(String(error.code))
}
