// A question and how it is to be answered, as one types it: for the backends, or for this browser.
// Invariant: what `readDraft` returns is what the API's fields are called.
import * as z from 'zod/mini'
import { Field, Input, Select } from './field.tsx'

export interface Draft {
  /** A conversation goes through the model's chat template, a bare prompt does not. */
  readonly kind: 'conversation' | 'prompt'
  readonly system: string
  readonly question: string
  readonly temperature: string
  readonly maxTokens: string
  /** Further fields of the request: a JSON object, or nothing. */
  readonly fields: string
}

const KINDS = { conversation: 'A conversation', prompt: 'A bare prompt' }

export function newDraft(maxTokens: number): Draft {
  const question = 'What is your return policy?'
  return { kind: 'conversation', system: '', question, temperature: '0', maxTokens: String(maxTokens), fields: '' }
}

interface Message {
  readonly role: 'system' | 'user'
  readonly content: string
}

export interface Question {
  /** One of the two. */
  readonly messages: readonly Message[] | undefined
  readonly prompt: string | undefined
  readonly sampling: { readonly temperature: number; readonly max_tokens: number; readonly [field: string]: unknown }
}

const Fields = z.record(z.string(), z.unknown())

/** undefined where it cannot be asked yet: no question, or further fields that are no JSON object. */
export function readDraft({ kind, system, question, temperature, maxTokens, fields }: Draft): Question | undefined {
  const further = tryReadFields(fields)
  if (question.trim() === '' || !further) return undefined
  const messages: readonly Message[] = [
    ...(system.trim() ? [{ role: 'system' as const, content: system }] : []),
    { role: 'user', content: question },
  ]
  return {
    messages: kind === 'conversation' ? messages : undefined,
    prompt: kind === 'prompt' ? question : undefined,
    sampling: { temperature: Number(temperature), max_tokens: Number(maxTokens), ...further },
  }
}

function tryReadFields(text: string): Record<string, unknown> | undefined {
  if (text.trim() === '') return {}
  try {
    const parsed = Fields.safeParse(JSON.parse(text))
    return parsed.success ? parsed.data : undefined
  } catch {
    return undefined
  }
}

interface DraftFieldsProps {
  readonly draft: Draft
  onChange(draft: Draft): void
  /** Ctrl+Enter. */
  onAsk(): void
}

export function DraftFields({ draft, onChange, onAsk }: DraftFieldsProps) {
  const set = (change: Partial<Draft>) => onChange({ ...draft, ...change })
  const areFieldsRead = tryReadFields(draft.fields) !== undefined
  return (
    <>
      <Field label={draft.kind === 'prompt' ? 'Prompt' : 'Question'} hint="Ctrl+Enter asks.">
        {({ id, describedBy }) => (
          <textarea
            id={id}
            rows={2}
            value={draft.question}
            aria-describedby={describedBy}
            onInput={(event) => set({ question: event.currentTarget.value })}
            onKeyDown={(event) => {
              if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) onAsk()
            }}
          />
        )}
      </Field>
      <details>
        <summary>Settings</summary>
        <div class="settings">
          <Select
            label="Ask as"
            value={draft.kind}
            options={KINDS}
            onChange={(kind) => set({ kind: kind === 'prompt' ? kind : 'conversation' })}
          />
          {draft.kind === 'conversation' && (
            <Input label="System message" value={draft.system} onInput={(system) => set({ system })} />
          )}
          <Input
            label="Temperature"
            type="number"
            min={0}
            max={2}
            step={0.1}
            value={draft.temperature}
            onInput={(temperature) => set({ temperature })}
          />
          <Input
            label="Longest answer"
            type="number"
            min={1}
            step={1}
            value={draft.maxTokens}
            hint="Tokens."
            onInput={(maxTokens) => set({ maxTokens })}
          />
          <Input
            label="Further fields"
            value={draft.fields}
            placeholder='{"top_p": 0.9, "seed": 7}'
            hint={areFieldsRead ? 'Any others of the API, as a JSON object.' : 'This is not a JSON object yet.'}
            onInput={(fields) => set({ fields })}
          />
        </div>
      </details>
    </>
  )
}
