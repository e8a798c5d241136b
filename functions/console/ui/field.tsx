// A labelled place to type or choose something, with a hint that screen readers read along.
import type { ComponentChildren } from 'preact'
import { useId } from 'preact/hooks'

interface FieldProps {
  readonly label: string
  readonly hint?: ComponentChildren
  /** Draws the control; `id` and `describedBy` tie it to its label and hint. */
  children(control: { id: string; describedBy: string | undefined }): ComponentChildren
}

export function Field({ label, hint, children }: FieldProps) {
  const id = useId()
  const hintId = `${id}-hint`
  return (
    <div class="field">
      <label for={id}>{label}</label>
      {children({ id, describedBy: hint ? hintId : undefined })}
      {hint && (
        <p class="hint" id={hintId}>
          {hint}
        </p>
      )}
    </div>
  )
}

interface InputProps {
  readonly label: string
  readonly hint?: ComponentChildren
  readonly value: string
  readonly type?: 'text' | 'password' | 'number' | 'date'
  readonly min?: number | string
  readonly max?: number | string
  readonly step?: number | 'any'
  readonly required?: boolean
  readonly pattern?: string
  readonly placeholder?: string
  onInput(value: string): void
}

export function Input({ label, hint, onInput, type = 'text', ...rest }: InputProps) {
  return (
    <Field label={label} hint={hint}>
      {({ id, describedBy }) => (
        <input
          {...rest}
          id={id}
          // The element's own types are one for each kind of input, and know no union of them.
          type={type as 'text'}
          aria-describedby={describedBy}
          autocomplete="off"
          spellcheck={false}
          onInput={(event) => onInput(event.currentTarget.value)}
          onInvalid={({ currentTarget: input }) => {
            // Where it is folded away, the browser could not show what is wrong with it, and the button would do nothing.
            input.closest('details')?.setAttribute('open', '')
          }}
        />
      )}
    </Field>
  )
}

interface SelectProps<Value extends string> {
  readonly label: string
  readonly hint?: ComponentChildren
  readonly value: Value
  /** value -> text */
  readonly options: Readonly<Partial<Record<NoInfer<Value>, string>>>
  onChange(value: NoInfer<Value>): void
}

export function Select<Value extends string>({ label, hint, value, options, onChange }: SelectProps<Value>) {
  return (
    <Field label={label} hint={hint}>
      {({ id, describedBy }) => (
        <select
          id={id}
          aria-describedby={describedBy}
          value={value}
          // One of `options`, which are all there is to choose.
          onChange={(event) => onChange(event.currentTarget.value as Value)}
        >
          {Object.entries<string | undefined>(options).map(([option, text]) => (
            <option key={option} value={option}>
              {text}
            </option>
          ))}
        </select>
      )}
    </Field>
  )
}

interface CheckProps {
  readonly label: ComponentChildren
  readonly checked: boolean
  readonly disabled?: boolean
  onChange(checked: boolean): void
}

export function Check({ label, checked, disabled, onChange }: CheckProps) {
  return (
    <label class="check">
      <input
        type="checkbox"
        checked={checked}
        disabled={disabled}
        onChange={(event) => onChange(event.currentTarget.checked)}
      />
      <span>{label}</span>
    </label>
  )
}
