// Finds the calls of tools in text that arrives in pieces, holding back what could become one.
// Invariant: what is no call after all is shown as it is, and the pieces' lengths change nothing.
import { exactJson, WrittenNumber } from '../model/written-numbers.ts'
import { ToolCall } from '../protocol.ts'
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
  /** What has not been looked at yet. */
  #held = ''
  #isInCall: boolean
  /** White space behind the text that was shown: it is no text where a call or the end follows. */
  #space = ''
  /** What the call that is read began with, white space before it included. */
  #mark = ''
  /** What of that call was looked at, so that however long it becomes, nothing is looked at twice. */
  #body = ''
  /** Whether `#body` ends within a string of JSON, and there behind a backslash. */
  #isInString = false
  #isEscaped = false
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
      if (!this.#readBody() && !ended) break
      const found = this.#parseCalls(this.#body)
      if (!found) text += this.#mark + this.#body + this.#held.slice(0, this.#closeLength())
      for (const call of found?.slice(0, this.#maxCalls - this.#calls) ?? []) {
        calls.push({ id: this.#format.newId(), type: 'function', function: call })
        this.#calls++
      }
      this.#held = this.#held.slice(this.#closeLength())
      this.#body = ''
      this.#mark = ''
      this.#isInCall = false
    }
    return { text, calls }
  }

  /** Text that certainly is no call, with `#isInCall` set where one has begun behind it. */
  #textBeforeCall(ended: boolean): string {
    const { open } = this.#format
    if (open === undefined) return this.#textUnlessBrace(ended)
    const at = this.#held.indexOf(open)
    if (at >= 0) {
      const before = this.#pass(at)
      this.#begin(open.length)
      return before
    }
    const shown = this.#pass(ended ? this.#held.length : this.#held.length - overlap(this.#held, open))
    return ended && this.#calls === 0 ? shown + this.#space : shown
  }

  /** The next `length` characters that are held, without the white space that they end with and with that before them. */
  #pass(length: number): string {
    const passed = this.#held.slice(0, length)
    this.#held = this.#held.slice(length)
    const shown = passed.trimEnd()
    const before = this.#space
    this.#space = shown === '' ? before + passed : passed.slice(shown.length)
    return shown === '' ? '' : before + shown
  }

  /** A call begins, with a mark of that length. */
  #begin(markLength: number): void {
    this.#mark = this.#space + this.#held.slice(0, markLength)
    this.#held = this.#held.slice(markLength)
    this.#space = ''
    this.#isInString = false
    this.#isEscaped = false
    this.#isInCall = true
  }

  #textUnlessBrace(ended: boolean): string {
    const begin = this.#held.trimStart()
    if (!this.#hasText && begin.startsWith('{')) {
      this.#pass(this.#held.length - begin.length)
      this.#begin(0)
      return ''
    }
    const shown = this.#pass(this.#held.length)
    if (!ended && !this.#hasText && shown === '') return ''
    const behind = this.#space
    this.#space = ''
    return shown + behind
  }

  /**
   * Looks at what is held, up to the mark that ends the call; false where that has not come. One in a string of the JSON is an
   * argument's text.
   */
  #readBody(): boolean {
    const { close } = this.#format
    let at = 0
    for (; at < this.#held.length; at++) {
      const character = this.#held[at]
      if (close !== undefined && !this.#isInString && character === close[0]) {
        if (close.startsWith(this.#held.slice(at, at + close.length))) break
      }
      if (this.#isEscaped) this.#isEscaped = false
      else if (character === '"') this.#isInString = !this.#isInString
      else this.#isEscaped = this.#isInString && character === '\\'
    }
    this.#body += this.#held.slice(0, at)
    this.#held = this.#held.slice(at)
    return close !== undefined && this.#held.startsWith(close)
  }

  #closeLength(): number {
    return this.#format.close?.length ?? 0
  }

  #parseCalls(body: string): ToolCall['function'][] | undefined {
    const { close } = this.#format
    const whole = tryJson(body)
    const several = whole === undefined && close === undefined ? body.split(/;\s*(?=\{)/).map(tryJson) : [whole].flat()
    const calls = several.map((value) => this.#asCall(value))
    return calls.length > 0 && calls.every((call) => call !== undefined) ? calls : undefined
  }

  #asCall(value: unknown): ToolCall['function'] | undefined {
    if (!isObject(value) || typeof value.name !== 'string') return undefined
    // With no mark before it, an object that has a name may as well be the answer.
    const isMeant = this.#names.includes(value.name) && ('arguments' in value || 'parameters' in value)
    if (this.#format.open === undefined && !isMeant) return undefined
    // Models write either, whatever their templates do.
    const given = value.arguments ?? value.parameters ?? {}
    const values = typeof given === 'string' ? tryJson(given) : given
    return isObject(values) ? tryCall(value.name, values) : undefined
  }
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof WrittenNumber)
}

function tryJson(text: string): unknown {
  try {
    return exactJson(text)
  } catch {
    return undefined
  }
}

/** undefined where it is none that may be told: without a name, too long, or nested too deeply. */
function tryCall(name: string, values: object): ToolCall['function'] | undefined {
  try {
    return ToolCall.shape.function.safeParse({ name, arguments: JSON.stringify(values) }).data
  } catch {
    return undefined
  }
}
