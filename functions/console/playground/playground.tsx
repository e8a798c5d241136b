// One question to the bare base model and up to three adapters, side by side.
import { useEffect, useRef, useState } from 'preact/hooks'
import { listOf, Model } from '../api/answers.ts'
import { readEdge } from '../api/edge.ts'
import { useLoaded } from '../loading.ts'
import { useTenant } from '../session.ts'
import { Button } from '../ui/button.tsx'
import { Check, Field, Input } from '../ui/field.tsx'
import { Card, Page } from '../ui/page.tsx'
import { Empty, WhenLoaded } from '../ui/states.tsx'
import { AnswerCard } from './answer-card.tsx'
import { type Run, runChat } from './run.ts'

const MAX_ADAPTERS = 3

export function Playground() {
  const { apiKey } = useTenant()
  const models = useLoaded(
    async (signal) => (await readEdge(apiKey, '/v1/models', listOf(Model), { signal })).data,
    [apiKey],
  )
  return (
    <Page title="Playground" about={`One question to the bare base model and up to ${MAX_ADAPTERS} of your adapters.`}>
      <WhenLoaded loaded={models}>{(value) => <Bench models={value} />}</WhenLoaded>
    </Page>
  )
}

function Bench({ models }: { readonly models: readonly Model[] }) {
  const { apiKey, own } = useTenant()
  const base = models.find(({ owned_by: owner }) => owner !== own.tenant)
  const adapters = models.filter((model) => model !== base)
  const [chosen, setChosen] = useState(() =>
    [base, ...adapters.slice(0, MAX_ADAPTERS)].flatMap((model) => model?.id ?? []),
  )
  const [system, setSystem] = useState('')
  const [question, setQuestion] = useState('What is your return policy?')
  const [temperature, setTemperature] = useState('0')
  const [maxTokens, setMaxTokens] = useState('128')
  const [runs, setRuns] = useState<readonly Run[]>([])
  const abort = useRef<AbortController>(undefined)
  useEffect(() => () => abort.current?.abort(), [])

  const isRunning = runs.some(({ status }) => status === 'waiting' || status === 'streaming')
  const chosenAdapters = chosen.filter((id) => id !== base?.id).length
  const canAsk = question.trim() !== '' && chosen.length > 0 && !isRunning

  const toggle = (id: string, on: boolean) => {
    const next = new Set(on ? [...chosen, id] : chosen.filter((other) => other !== id))
    setChosen(models.flatMap((model) => (next.has(model.id) ? model.id : [])))
  }
  const ask = () => {
    if (!canAsk) return
    abort.current = new AbortController()
    const { signal } = abort.current
    const messages = [
      ...(system.trim() ? [{ role: 'system' as const, content: system }] : []),
      { role: 'user' as const, content: question },
    ]
    for (const [place, model] of chosen.entries()) {
      const request = { model, messages, temperature: Number(temperature), max_tokens: Number(maxTokens) }
      const report = (run: Run) =>
        setRuns((runs) => chosen.map((_, i) => (i === place ? run : (runs[i] as Run))).filter(Boolean))
      void runChat(apiKey, request, signal, report)
    }
  }
  return (
    <>
      <form
        class="card ask"
        onSubmit={(event) => {
          event.preventDefault()
          ask()
        }}
        onKeyDown={(event) => {
          if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) ask()
        }}
      >
        <fieldset class="choices">
          <legend>Models</legend>
          {models.map((model) => (
            <Check
              key={model.id}
              label={model === base ? `${model.id} (bare)` : model.id}
              checked={chosen.includes(model.id)}
              disabled={model !== base && chosenAdapters >= MAX_ADAPTERS && !chosen.includes(model.id)}
              onChange={(on) => toggle(model.id, on)}
            />
          ))}
        </fieldset>
        <Field label="Question" hint="Ctrl+Enter asks.">
          {({ id, describedBy }) => (
            <textarea
              id={id}
              rows={2}
              value={question}
              aria-describedby={describedBy}
              onInput={(event) => setQuestion(event.currentTarget.value)}
            />
          )}
        </Field>
        <details>
          <summary>Settings</summary>
          <div class="settings">
            <Input label="System message" value={system} onInput={setSystem} />
            <Input
              label="Temperature"
              type="number"
              min={0}
              max={2}
              step={0.1}
              value={temperature}
              onInput={setTemperature}
            />
            <Input label="Most tokens" type="number" min={1} step={1} value={maxTokens} onInput={setMaxTokens} />
          </div>
        </details>
        <div class="actions">
          <Button kind="primary" type="submit" icon="play" disabled={!canAsk}>
            Ask {chosen.length > 1 ? `all ${chosen.length}` : ''}
          </Button>
          {isRunning && <Button onClick={() => abort.current?.abort()}>Stop</Button>}
        </div>
      </form>
      {runs.length > 0 ? (
        <div class="answers">
          {runs.map((run) => (
            <AnswerCard key={run.request.model} run={run} isBase={run.request.model === base?.id} />
          ))}
        </div>
      ) : (
        <Card>
          <Empty icon="play" title="Ask, and the answers appear here side by side.">
            <p>Each says how soon it began, how fast it came, whether its adapter was warm, and what it cost.</p>
          </Empty>
        </Card>
      )}
    </>
  )
}
