// Who is signed in. Keys live in this tab only: sessionStorage ends with the tab, and nothing else ever holds them.
import { createContext } from 'preact'
import { useContext } from 'preact/hooks'
import * as z from 'zod/mini'
import { OwnKey, Tenant } from '../routes/account-answers.ts'
import { listOf } from '../routes/list-of.ts'
import { readEdge } from './api/edge.ts'

const STORED_AS = 'polylora.keys'

const Keys = z.object({ apiKey: z.string(), adminKey: z.string() })
/** Empty where there is none; one of the two at least is given. */
export type Keys = z.infer<typeof Keys>

export interface Session {
  readonly keys: Keys
  /** What the API key is; undefined where only the operator's key was given. */
  readonly own: OwnKey | undefined
  readonly isOperator: boolean
}

/** Asks the edge what the keys open. Throws EdgeError where one of them is not accepted. */
export async function openSession(keys: Keys): Promise<Session> {
  const [own] = await Promise.all([
    keys.apiKey ? readEdge(keys.apiKey, '/v1/key', OwnKey) : undefined,
    keys.adminKey ? readEdge(keys.adminKey, '/admin/v1/tenants', listOf(Tenant)) : undefined,
  ])
  return { keys, own, isOperator: keys.adminKey !== '' }
}

export function storedKeys(): Keys | undefined {
  try {
    const parsed = Keys.safeParse(JSON.parse(sessionStorage.getItem(STORED_AS) ?? 'null'))
    return parsed.success ? parsed.data : undefined
  } catch {
    return undefined
  }
}

export function storeKeys(keys: Keys | undefined): void {
  try {
    if (keys) sessionStorage.setItem(STORED_AS, JSON.stringify(keys))
    else sessionStorage.removeItem(STORED_AS)
  } catch {
    // Where the browser blocks what sites store, one signs in again after each reload.
  }
}

export const SessionContext = createContext<Session | undefined>(undefined)

export function useSession(): Session {
  const session = useContext(SessionContext)
  if (!session) throw new Error('there is no session here')
  return session
}

/** For pages that only a tenant's key opens. */
export function useTenant(): { apiKey: string; own: OwnKey } {
  const { keys, own } = useSession()
  if (!own) throw new Error('this page needs an API key')
  return { apiKey: keys.apiKey, own }
}
