// What a new key may be used for, and until when.
import { useState } from 'preact/hooks'
import { Scope } from '../../auth/scope.ts'
import { Button } from '../ui/button.tsx'
import { Check, Input } from '../ui/field.tsx'
import { Form } from '../ui/form.tsx'

/** A year of more digits, such as 20270, is no date that a browser parses: the key would never expire. */
const LAST_DAY = '9999-12-31'

interface NewKeyProps {
  readonly isBusy: boolean
  onMake(body: { scopes: readonly Scope[]; expires_ms: number | null }): void
}

export function NewKey({ isBusy, onMake }: NewKeyProps) {
  const [scopes, setScopes] = useState<readonly Scope[]>(Scope.options)
  const [expires, setExpires] = useState('')
  return (
    <Form
      class="row"
      onSubmit={() => onMake({ scopes, expires_ms: expires === '' ? null : Date.parse(`${expires}T00:00:00Z`) })}
    >
      <fieldset class="choices">
        <legend>A new key for</legend>
        {Scope.options.map((scope) => (
          <Check
            key={scope}
            label={scope}
            checked={scopes.includes(scope)}
            onChange={(on) => setScopes(on ? [...scopes, scope] : scopes.filter((other) => other !== scope))}
          />
        ))}
      </fieldset>
      <Input
        label="Expires"
        type="date"
        value={expires}
        max={LAST_DAY}
        hint="At the day’s beginning, in UTC. Empty: never."
        onInput={setExpires}
      />
      <Button kind="primary" type="submit" icon="key" isBusy={isBusy} disabled={scopes.length === 0}>
        Make key
      </Button>
    </Form>
  )
}
