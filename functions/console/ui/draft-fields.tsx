// Where a question and its settings are typed.
import { type Draft, tryReadFields } from './draft.ts'
import { Field, Input, Select } from './field.tsx'

const KINDS = { conversation: 'A conversation', prompt: 'A bare prompt' }

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
          <Select label="Ask as" value={draft.kind} options={KINDS} onChange={(kind) => set({ kind })} />
          {draft.kind === 'conversation' && (
            <Input label="System message" value={draft.system} onInput={(system) => set({ system })} />
          )}
          <Input
            label="Temperature"
            type="number"
            min={0}
            max={2}
            step="any"
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
