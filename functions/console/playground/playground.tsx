// One question to the bare base model and up to three adapters, or versions of them, side by side.
import { useEffect, useRef, useState } from 'preact/hooks'
import { Model } from '../../openai/answer-schemas.ts'
import type { AskRequest } from '../api/stream-answer.ts'
import { useList } from '../api/use-edge.ts'
import { useTenant } from '../session.ts'
import { Button } from '../ui/button.tsx'
import { newDraft, type Question, readDraft } from '../ui/draft.ts'
import { DraftFields } from '../ui/draft-fields.tsx'
import { Check } from '../ui/field.tsx'
import { Form } from '../ui/form.tsx'
import { shortModel } from '../ui/format.ts'
import { Card, Page } from '../ui/page.tsx'
import { Empty, WhenLoaded } from '../ui/states.tsx'
import { AnswerCard } from './answer-card.tsx'
import { type Run, runRequest } from './run.ts'

const MAX_ADAPTERS = 3
const MAX_TOKENS = 128

/** `version`: one that a link asks for, beside what its name serves. */
export function Playground({ rest: [version] }: { readonly rest: readonly string[] }) {
  const { apiKey } = useTenant()
  const models = useList(apiKey, '/v1/models', Model)
  return (
    <Page title="Playground" about={`One question to the bare base model and up to ${MAX_ADAPTERS} of your adapters.`}>
      <WhenLoaded loaded={models}>{(value) => <Bench key={version} models={value} version={version} />}</WhenLoaded>
    </Page>
  )
}

interface BenchProps {
  readonly models: readonly Model[]
  readonly version: string | undefined
}

function Bench({ models, version }: BenchProps) {
  const { apiKey, own } = useTenant()
  const base = models.find(({ owned_by: owner }) => owner !== own.tenant)?.id
  const names = [...models.map(({ id }) => id), ...(version === undefined ? [] : [version])]
  const [chosen, setChosen] = useState(() => firstChoice(names, base, version))
  const [draft, setDraft] = useState(() => newDraft(MAX_TOKENS))
  const [runs, setRuns] = useState<readonly Run[]>([])
  const abort = useRef<AbortController>(undefined)
  useEffect(() => () => abort.current?.abort(), [])

  const isRunning = runs.some(({ status }) => status === 'waiting' || status === 'streaming')
  const chosenAdapters = chosen.filter((id) => id !== base).length
  const question = readDraft(draft)
  const canAsk = question !== undefined && chosen.length > 0

  const toggle = (id: string, on: boolean) => {
    const next = new Set(on ? [...chosen, id] : chosen.filter((other) => other !== id))
    setChosen(names.filter((name) => next.has(name)))
  }
  const ask = () => {
    if (!canAsk || isRunning) return
    abort.current = new AbortController()
    const { signal } = abort.current
    for (const [place, model] of chosen.entries()) {
      const report = (run: Run) =>
        setRuns((runs) => chosen.map((_, i) => (i === place ? run : (runs[i] as Run))).filter(Boolean))
      void runRequest(apiKey, requestOf(model, question), signal, report)
    }
  }
  return (
    <>
      <Form class="card ask" onSubmit={ask}>
        <fieldset class="choices">
          <legend>Models</legend>
          {names.map((name) => (
            <Check
              key={name}
              label={name === base ? `${name} (bare)` : shortModel(name)}
              checked={chosen.includes(name)}
              disabled={name !== base && chosenAdapters >= MAX_ADAPTERS && !chosen.includes(name)}
              onChange={(on) => toggle(name, on)}
            />
          ))}
        </fieldset>
        <DraftFields draft={draft} onChange={setDraft} onAsk={ask} />
        <div class="actions">
          <Button kind="primary" type="submit" icon="play" isBusy={isRunning} disabled={!canAsk}>
            Ask {chosen.length > 1 ? `all ${chosen.length}` : ''}
          </Button>
          {isRunning && <Button onClick={() => abort.current?.abort()}>Stop</Button>}
        </div>
      </Form>
      {runs.length > 0 ? (
        <div class="answers">
          {runs.map((run) => (
            <AnswerCard key={run.request.body.model} run={run} isBase={run.request.body.model === base} />
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

/** The base and the first adapters; or, where a version is asked for, the base, that version, and what its name serves. */
function firstChoice(
  names: readonly string[],
  base: string | undefined,
  version: string | undefined,
): readonly string[] {
  const isFirst = (name: string) => version === undefined || name === version || name === version.split('@')[0]
  const adapters = names.filter((name) => name !== base && isFirst(name))
  return [...(base === undefined ? [] : [base]), ...adapters.slice(0, MAX_ADAPTERS)]
}

/** Whatever further fields say, the model is the one whose name is above the answer. */
function requestOf(model: string, { sampling, ...asked }: Question): AskRequest {
  const path = 'messages' in asked ? '/v1/chat/completions' : '/v1/completions'
  return { path, body: { ...asked, ...sampling, model } }
}
