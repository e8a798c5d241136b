// Renders the chat templates that adapters brought with them: customers' programs, so in a process of bounded time and memory;
// and the model's own for conversations that it takes long with.
// (A thread would not do: when its heap is full, V8 can end the whole process.) Knows no tokens. Invariant: a template that
// loops or hoards is stopped and refused from then on to its tenant, others wait for it no longer than its bound; one that was
// merely not heard of in time, because the machine or this thread was busy, is refused from the second time on. Tenants take
// turns.
import { type ChildProcess, fork } from 'node:child_process'
import { hash } from 'node:crypto'
import { fileURLToPath } from 'node:url'
import { BackendError } from '../errors.ts'
import type { ChatMessage } from '../protocol.ts'
import { Turns } from '../scheduler/turns.ts'
import type { SpecialTokens, TemplateExtras } from './template-input.ts'

const RENDERER = fileURLToPath(new URL('./render-adapter-template.ts', import.meta.url))
/** Of the process's time. The longest templates in use take a few milliseconds and megabytes. */
const MAX_RENDER_MS = 500
/** The process stops a rendering itself after so many times as long by the clock. */
const WALL_FACTOR = 2
const MAX_START_MS = 5000
const MAX_MEMORY_MB = 128
/** A template that was stopped so often in turn is refused: once can be the fault of a machine that is too busy. */
const MAX_STOPS = 2
/** Stopped templates that are remembered, the oldest forgotten first. */
const MAX_STOPPED = 1000

/** What a template is given, as `templateInput` takes it. */
export interface Conversation {
  readonly messages: readonly ChatMessage[]
  readonly extras: TemplateExtras
  readonly specials: SpecialTokens
}

export interface RenderRequest extends Conversation {
  readonly template: string
  readonly maxWallMs: number
}
export interface Rendered {
  /** Neither: it was stopped. */
  readonly text?: string
  readonly error?: string
  /** What it took of the process's time. */
  readonly cpuMs: number
}

/** Whose template it is. */
type Owner = 'adapter' | 'model'

interface Rendering {
  readonly tenant: string
  readonly owner: Owner
  readonly template: string
  readonly conversation: Conversation
}

export class AdapterTemplates {
  #renderer: ChildProcess | undefined
  readonly #turns = new Turns()
  /** How often in turn each tenant's template was stopped. */
  readonly #stops = new Map<string, number>()
  readonly #maxRenderMs: number

  constructor(maxRenderMs = MAX_RENDER_MS) {
    this.#maxRenderMs = maxRenderMs
  }

  /**
   * The prompt's text, when it is the turn of `tenant`.
   * @throws BackendError `bad_request` when the template refuses these messages, or takes too much time or memory
   */
  render(tenant: string, template: string, conversation: Conversation, owner: Owner = 'adapter'): Promise<string> {
    return this.#turns.run(tenant, () => this.#render({ tenant, template, conversation, owner }))
  }

  /** What waits is refused. */
  close(): void {
    this.#turns.clear(closed())
    this.#end()
  }

  #end(): void {
    this.#renderer?.kill('SIGKILL')
    this.#renderer = undefined
  }

  async #render({ tenant, owner, template, conversation }: Rendering): Promise<string> {
    // Of this tenant alone: what takes too long with one's messages may be well with another's.
    const key = hash('sha256', JSON.stringify([tenant, template]))
    if (owner === 'adapter' && this.#stopsOf(key) >= MAX_STOPS) throw tooMuch(owner)
    const maxWallMs = WALL_FACTOR * this.#maxRenderMs
    const renderer = await this.#running()
    renderer.send({ template, ...conversation, maxWallMs } satisfies RenderRequest)
    const rendered = await answer(renderer, maxWallMs)
    if (typeof rendered === 'string') {
      // Where it was closed here, nothing is known of the template.
      if (this.#renderer !== renderer) throw closed()
      this.#end()
      throw this.#stopped(owner, key, rendered === 'ended')
    }
    const { text, error, cpuMs } = rendered
    const isStopped = text === undefined && error === undefined
    if (isStopped || cpuMs > this.#maxRenderMs) {
      throw this.#stopped(owner, key, cpuMs > this.#maxRenderMs)
    }
    this.#stops.delete(key)
    if (text !== undefined) return text
    const reason = error!.split('\n')[0]!.replace(/\.?$/, '.')
    throw new BackendError('bad_request', `The ${owner}'s chat template refuses these messages: ${reason}`)
  }

  /** The process, started where there is none or it has ended by itself. */
  async #running(): Promise<ChildProcess> {
    if (this.#renderer?.connected) return this.#renderer
    const renderer = fork(RENDERER, { execArgv: [`--max-old-space-size=${MAX_MEMORY_MB}`], stdio: 'ignore', env: {} })
    // Neither the process nor its channel keeps this one alive.
    renderer.unref()
    renderer.channel?.unref()
    this.#renderer = renderer
    if (typeof (await answer(renderer, MAX_START_MS)) !== 'string') return renderer
    this.#end()
    throw new BackendError('unavailable', "The process that renders adapters' chat templates did not start.")
  }

  #stopsOf(key: string): number {
    return this.#stops.get(key) ?? 0
  }

  /** The refusal; `isProven`: it took too much, for certain. */
  #stopped(owner: Owner, key: string, isProven: boolean): BackendError {
    // Of the model's own template, the conversation is what was too much.
    if (owner === 'model') return tooMuch(owner)
    const stops = isProven ? MAX_STOPS : this.#stopsOf(key) + 1
    this.#stops.delete(key)
    this.#stops.set(key, stops)
    const [oldest] = this.#stops.keys()
    if (oldest !== undefined && this.#stops.size > MAX_STOPPED) this.#stops.delete(oldest)
    return tooMuch(owner)
  }
}

function tooMuch(owner: Owner): BackendError {
  return new BackendError(
    'bad_request',
    owner === 'adapter'
      ? "The adapter's chat template takes too much time or memory: publish the adapter with another one."
      : "The model's chat template takes too much time or memory with these tools and calls: send fewer or smaller ones.",
  )
}

function closed(): BackendError {
  return new BackendError('unavailable', 'This backend renders no chat templates: the engine has stopped.')
}

/** The next message of `renderer`, or why there is none: its process has ended, or said nothing for more than `maxMs`. */
function answer(renderer: ChildProcess, maxMs: number): Promise<Rendered | 'ended' | 'silent'> {
  return new Promise((resolve) => {
    const end = (rendered: Rendered | 'ended' | 'silent') => {
      clearTimeout(timer)
      renderer.removeAllListeners()
      renderer.on('error', () => {})
      resolve(rendered)
    }
    // Twice: where this thread was held up itself, what came meanwhile is read between the two.
    let timer = setTimeout(() => {
      timer = setTimeout(end, maxMs, 'silent')
    }, maxMs)
    renderer.once('message', (rendered) => end(rendered as Rendered))
    renderer.once('exit', () => end('ended'))
    renderer.once('error', () => end('silent'))
  })
}
