// The same model in this browser: the base is downloaded once, then only an adapter for each customer, and no question
// leaves the machine. What runs it is a module of its own, fetched when somebody asks for it.
import { useEffect, useRef, useState } from 'preact/hooks'
import type { LocalModel, Progress } from '../../../gpu-backend/browser/index.ts'
import { listOf, Model } from '../api/answers.ts'
import { readEdge } from '../api/edge.ts'
import { useLoaded, useTask } from '../loading.ts'
import { useTenant } from '../session.ts'
import { Button } from '../ui/button.tsx'
import { Field, Select } from '../ui/field.tsx'
import { bytes, count, milliseconds } from '../ui/format.ts'
import { Card, Page } from '../ui/page.tsx'
import { Empty, Failure, WhenLoaded } from '../ui/states.tsx'

const MAX_TOKENS = 96

export function BrowserPage() {
  const { apiKey } = useTenant()
  const [model, setModel] = useState<LocalModel>()
  const [progress, setProgress] = useState<Progress>()
  const task = useTask()
  useEffect(() => () => model?.close(), [model])
  const open = () => {
    void task.run(async () => {
      const { openBrowserModel } = await import('../../../gpu-backend/browser/index.ts')
      try {
        setModel(await openBrowserModel({ edge: location.origin, apiKey, onProgress: setProgress }))
      } finally {
        setProgress(undefined)
      }
    })
  }
  return (
    <Page
      title="In this browser"
      about="The base model is downloaded once and stays on this machine; an adapter is a small file beside it. Questions and answers stay here."
    >
      {task.error && <Failure error={task.error} />}
      {model ? (
        <LocalBench model={model} />
      ) : (
        <Card>
          <Empty icon="chip" title="Nothing is downloaded until you say so">
            <p>It runs on your GPU where the browser offers WebGPU, and as WebAssembly where it does not.</p>
            <Button kind="primary" icon="chip" isBusy={task.isBusy} onClick={open}>
              Run the model here
            </Button>
          </Empty>
          {progress && <Download progress={progress} />}
        </Card>
      )}
    </Page>
  )
}

function Download({ progress: { what, loadedBytes, totalBytes } }: { readonly progress: Progress }) {
  const label = what === 'base' ? 'The base model' : 'The adapter'
  return (
    <div class="field">
      <progress aria-label={label} value={loadedBytes} max={totalBytes} />
      <p class="hint">
        {label}: {bytes(loadedBytes)} of {bytes(totalBytes)}
      </p>
    </div>
  )
}

interface LocalAnswer {
  readonly text: string
  readonly measured?: { readonly tokens: number; readonly ttftMs: number; readonly totalMs: number }
}

function LocalBench({ model }: { readonly model: LocalModel }) {
  const { apiKey, own } = useTenant()
  const models = useLoaded(
    async (signal) => (await readEdge(apiKey, '/v1/models', listOf(Model), { signal })).data,
    [apiKey],
  )
  const [name, setName] = useState('')
  const [question, setQuestion] = useState('What is your return policy?')
  const [answer, setAnswer] = useState<LocalAnswer>()
  const [progress, setProgress] = useState<Progress>()
  const abort = useRef<AbortController>(undefined)
  const task = useTask()
  useEffect(() => () => abort.current?.abort(), [])
  const ask = () => {
    abort.current = new AbortController()
    const { signal } = abort.current
    void task.run(async () => {
      setAnswer({ text: '' })
      const adapter = name === '' ? null : await model.load(name, setProgress).finally(() => setProgress(undefined))
      const messages = [{ role: 'user' as const, content: question }]
      const sampling = { temperature: 0, max_tokens: MAX_TOKENS }
      let text = ''
      for await (const event of model.generate({ adapter, messages, sampling }, signal)) {
        if (event.event === 'text') {
          text += event.text
          setAnswer({ text })
        } else if (event.event === 'done') {
          const { ttftMs, totalMs, usage } = event
          setAnswer({ text, measured: { tokens: usage.completion_tokens, ttftMs, totalMs } })
        }
      }
    })
  }
  return (
    <WhenLoaded loaded={models}>
      {(list) => (
        <>
          <form
            class="card"
            onSubmit={(event) => {
              event.preventDefault()
              ask()
            }}
          >
            <Select
              label="Model"
              value={name}
              options={Object.fromEntries([
                ['', 'The bare base model'],
                ...list.filter(({ owned_by: owner }) => owner === own.tenant).map(({ id }) => [id, id]),
              ])}
              hint="The operator decides for each adapter whether it may leave the edge."
              onChange={setName}
            />
            <Field label="Question">
              {({ id }) => (
                <textarea
                  id={id}
                  rows={2}
                  value={question}
                  onInput={(event) => setQuestion(event.currentTarget.value)}
                />
              )}
            </Field>
            <div class="actions">
              <Button kind="primary" type="submit" icon="play" isBusy={task.isBusy} disabled={question.trim() === ''}>
                Ask here
              </Button>
              {task.isBusy && <Button onClick={() => abort.current?.abort()}>Stop</Button>}
              <span class="hint">
                Runs on {model.device === 'webgpu' ? 'your GPU (WebGPU)' : 'your CPU (WebAssembly)'}.
              </span>
            </div>
            {progress && <Download progress={progress} />}
            {task.error && <Failure error={task.error} />}
          </form>
          {answer && (
            <article class="card" aria-label="Answer in this browser">
              <div class="answer-text" aria-live="polite" aria-busy={task.isBusy}>
                {answer.text}
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
