// Finds the calls of tools in text that arrives in pieces, holding back what could become one.
// Invariant: what is no call after all is shown as it is, and the pieces' lengths change nothing.
import type { ToolCall } from '../protocol.ts'
import { overlap } from '../sampling/stop.ts'
import type { ToolFormat } from './tool-format.ts'

export interface ReadText {
  /** What may be shown now. */
  readonly text: string
  /** The calls that are complete now. */
  readonly calls: readonly ToolCall[]
}

export class ToolCallReader {
  readonly #format: ToolFormat
  readonly #names: readonly string[]
  readonly #maxCalls: number
  #held = ''
  #isInCall: boolean
  /** What the call that is read began with, white space before it included. */
  #mark = ''
  /** Something was shown that is no call. */
  #hasText = false
  #calls = 0

  /** `names`: of the tools that there are; `startsInCall`: the prompt has begun the call already. */
  constructor(
    format: ToolFormat,
    names: readonly string[],
    startsInCall: boolean,
    maxCalls = Number.POSITIVE_INFINITY,
  ) {
    this.#format = format
    this.#names = names
    this.#isInCall = startsInCall
    this.#maxCalls = maxCalls
  }

  get calls(): number {
    return this.#calls
  }

  /** No more calls are wanted: what follows is to be dropped. */
  get isFull(): boolean {
    return this.#calls >= this.#maxCalls
  }

  /** Whether this is a mark of the format, which some tokenizers do not show as text. */
  isMark(text: string): boolean {
    return text === this.#format.open || text === this.#format.close
  }

  push(text: string): ReadText {
    this.#held += text
    return this.#read(false)
  }

  /** What was held back, once the text has ended. */
  end(): ReadText {
    return this.#read(true)
  }

  #read(ended: boolean): ReadText {
    let text = ''
    const calls: ToolCall[] = []
    while (!this.isFull) {
      if (!this.#isInCall) {
        const shown = this.#textBeforeCall(ended)
        text += shown
        this.#hasText ||= shown !== ''
        if (!this.#isInCall) break
      }
      const body = this.#wholeCall(ended)
      if (!body) break
      for (const call of body.slice(0, this.#maxCalls - this.#calls)) {
        calls.push({ id: this.#format.newId(), type: 'function', function: call })
        this.#calls++
      }
      if (body.length > 0) continue
      text += this.#held
      this.#held = ''
      break
    }
    return { text, calls }
  }

  /** Text that certainly is no call, with `#isInCall` set where one has begun behind it. */
  #textBeforeCall(ended: boolean): string {
    const { open } = this.#format
    if (open === undefined) return this.#textUnlessBrace(ended)
    const at = this.#held.indexOf(open)
    if (at >= 0) {
      const before = this.#held.slice(0, at).trimEnd()
      const end = at + open.length
      this.#mark = this.#held.slice(before.length, end)
      this.#held = this.#held.slice(end)
      this.#isInCall = true
      return before
    }
    // White space before and after calls is no text.
    const certain = ended ? this.#held.length : this.#held.length - overlap(this.#held, open)
    const shown = ended && this.#calls === 0 ? this.#held : this.#held.slice(0, certain).trimEnd()
    this.#held = ended ? '' : this.#held.slice(shown.length)
    return shown
  }

  #textUnlessBrace(ended: boolean): string {
    const begin = this.#held.trimStart()
    if (!this.#hasText && begin.startsWith('{')) this.#isInCall = true
    else if (ended || this.#hasText || begin !== '') {
      const shown = this.#held
      this.#held = ''
      return shown
    }
    return ''
  }

  /** The calls that have ended; none where it is certain that there are none; undefined while nobody can tell. */
  #wholeCall(ended: boolean): ToolCall['function'][] | undefined {
    const { close } = this.#format
    for (let at = close ? this.#held.indexOf(close) : -1; at >= 0; at = this.#held.indexOf(close!, at + 1)) {
      const calls = this.#parseCalls(this.#held.slice(0, at))
      // Perhaps the mark stood in an argument's text.
      if (!calls) continue
      this.#held = this.#held.slice(at + close!.length)
      this.#isInCall = false
      return calls
    }
    if (!ended) return undefined
    const calls = this.#parseCalls(this.#held)
    this.#held = calls ? '' : this.#mark + this.#held
    this.#isInCall = false
    return calls ?? []
  }

  #parseCalls(body: string): ToolCall['function'][] | undefined {
    const { close } = this.#format
    const whole = tryJson(body)
    const several = whole === undefined && close === undefined ? body.split(/;\s*(?=\{)/).map(tryJson) : [whole].flat()
    const calls = several.map((value) => this.#asCall(value))
    return calls.length > 0 && calls.every((call) => call !== undefined) ? calls : undefined
  }

  #asCall(value: unknown): ToolCall['function'] | undefined {
    if (!isObject(value) || typeof value.name !== 'string' || value.name === '') return undefined
    // With no mark before it, an object that has a name may as well be the answer.
    const isMeant = this.#names.includes(value.name) && ('arguments' in value || 'parameters' in value)
    if (this.#format.open === undefined && !isMeant) return undefined
    // Models write either, whatever their templates do.
    const given = value.arguments ?? value.parameters ?? {}
    const values = typeof given === 'string' ? tryJson(given) : given
    return isObject(values) ? { name: value.name, arguments: JSON.stringify(values) } : undefined
  }
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function tryJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
