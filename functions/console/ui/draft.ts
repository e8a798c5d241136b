// A question and how it is to be answered, as one types it: for the backends, or for this browser. Pure.
// Invariant: what `readDraft` returns is what the API's fields are called.
import * as z from 'zod/mini'

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

export function newDraft(maxTokens: number): Draft {
  const question = 'What is your return policy?'
  return { kind: 'conversation', system: '', question, temperature: '0', maxTokens: String(maxTokens), fields: '' }
}

interface Message {
  readonly role: 'system' | 'user'
  readonly content: string
}

export type Question = ({ readonly messages: readonly Message[] } | { readonly prompt: string }) & {
  readonly sampling: { readonly [field: string]: unknown }
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
  // What is left empty is the API's default.
  const sampling = {
    ...(temperature === '' ? {} : { temperature: Number(temperature) }),
    ...(maxTokens === '' ? {} : { max_tokens: Number(maxTokens) }),
    ...further,
  }
  return kind === 'prompt' ? { prompt: question, sampling } : { messages, sampling }
}

/** undefined where the text is neither empty nor a JSON object. */
export function tryReadFields(text: string): Record<string, unknown> | undefined {
  if (text.trim() === '') return {}
  try {
    const parsed = Fields.safeParse(JSON.parse(text))
    return parsed.success ? parsed.data : undefined
  } catch {
    return undefined
  }
}
