// The door: an API key, the operator's key, or both. They stay in this tab.
import { useEffect, useState } from 'preact/hooks'
import { useTask } from '../loading.ts'
import type { Keys } from '../session.ts'
import { ThemeToggle } from '../theme-toggle.tsx'
import { Button } from '../ui/button.tsx'
import { Check, Input } from '../ui/field.tsx'
import { Form } from '../ui/form.tsx'
import { Failure } from '../ui/states.tsx'

interface SignInProps {
  onSignIn(keys: Keys): Promise<void>
  /** Tries the keys of this tab once more. */
  onComeBack(): void
  /** Why the keys of this tab open nothing. */
  readonly returningError: Error | undefined
}

/** `npm start` serves here, with keys that it makes itself. */
const isThisMachine = ['127.0.0.1', 'localhost', '[::1]'].includes(location.hostname)

export function SignIn({ onSignIn, onComeBack, returningError }: SignInProps) {
  const [apiKey, setApiKey] = useState('')
  const [adminKey, setAdminKey] = useState('')
  const [isShown, setShown] = useState(false)
  const task = useTask()
  const type = isShown ? 'text' : 'password'
  const error = task.error ?? returningError
  useEffect(() => {
    document.title = 'Sign in · Polylora'
  }, [])
  return (
    <main class="sign-in">
      <Form
        class="card"
        onSubmit={() => task.run(() => onSignIn({ apiKey: apiKey.trim(), adminKey: adminKey.trim() }))}
      >
        <div class="brand">
          <img src="/favicon.svg" alt="" width="36" height="36" />
          <ThemeToggle />
        </div>
        <h1>Sign in to Polylora</h1>
        <p class="muted">One personalised model per customer, on one shared base model.</p>
        {error && <Failure error={error} {...(error === returningError ? { onRetry: onComeBack } : {})} />}
        <Input label="API key" type={type} value={apiKey} required={adminKey === ''} onInput={setApiKey} />
        <Input
          label="Operator’s key"
          type={type}
          value={adminKey}
          hint="Optional: opens tenants, keys, limits and the backends."
          onInput={setAdminKey}
        />
        <Check label="Show what I type" checked={isShown} onChange={setShown} />
        <Button kind="primary" type="submit" isBusy={task.isBusy}>
          Sign in
        </Button>
        <p class="hint">
          Keys stay in this tab and go nowhere but to this server.
          {isThisMachine && (
            <>
              {' '}
              On this machine <code>npm start</code> made <code>dev-demo</code>, one <code>dev-</code> key for each
              sample tenant, and the operator’s key <code>dev-admin</code>.
            </>
          )}
        </p>
      </Form>
    </main>
  )
}
