// Signed out: the sign-in page. Signed in: the frame with the page that the address names.
import { useEffect, useState } from 'preact/hooks'
import { SignIn } from './account/sign-in.tsx'
import { Frame } from './frame.tsx'
import { type Keys, openSession, type Session, SessionContext, storedKeys, storeKeys } from './session.ts'
import { Skeleton } from './ui/states.tsx'

export function App() {
  const [session, setSession] = useState<Session>()
  const [isReturning, setReturning] = useState(() => storedKeys() !== undefined)
  const [error, setError] = useState<Error>()

  const signIn = async (keys: Keys) => {
    setSession(await openSession(keys))
    storeKeys(keys)
    setError(undefined)
  }
  const signOut = () => {
    storeKeys(undefined)
    setSession(undefined)
    location.hash = ''
  }
  const comeBack = () => {
    const keys = storedKeys()
    if (!keys) return
    setReturning(true)
    signIn(keys)
      .catch(setError)
      .finally(() => setReturning(false))
  }
  useEffect(comeBack, [])

  if (session) {
    return (
      <SessionContext.Provider value={session}>
        <Frame onSignOut={signOut} />
      </SessionContext.Provider>
    )
  }
  if (isReturning) return <Skeleton lines={4} />
  return <SignIn onSignIn={signIn} onComeBack={comeBack} returningError={error} />
}
