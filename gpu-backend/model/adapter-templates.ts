// Renders the chat templates that adapters brought with them: customers' programs, so in a process of bounded time and memory.
// (A thread would not do: when its heap is full, V8 can end the whole process.) Knows no tokens. Invariant: a template that
// loops or hoards is stopped and refused from then on; others wait for it once, no longer than its bound.
import { type ChildProcess, fork } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { BackendError } from '../errors.ts'
import type { TemplateInput } from './template-input.ts'

const RENDERER = fileURLToPath(new URL('./render-adapter-template.ts', import.meta.url))
/** The longest templates in use take a few milliseconds and megabytes. */
const MAX_RENDER_MS = 500
const MAX_START_MS = 10_000
const MAX_MEMORY_MB = 128
/** Refused templates that are remembered, the oldest forgotten first. */
const MAX_REFUSED = 1000

export interface RenderRequest {
  readonly template: string
  readonly input: TemplateInput
}
export type Rendered = { readonly text: string } | { readonly error: string }

export class AdapterTemplates {
  #renderer: ChildProcess | undefined
  /** Ends when the rendering before has ended, however it did. */
  #previous: Promise<unknown> = Promise.resolve()
  readonly #refused = new Set<string>()
  readonly #maxRenderMs: number

  constructor(maxRenderMs = MAX_RENDER_MS) {
    this.#maxRenderMs = maxRenderMs
  }

  /**
   * The prompt's text.
   * @throws BackendError `bad_request` when the template refuses these messages, or takes too much time or memory
   */
  render(template: string, input: TemplateInput): Promise<string> {
    const rendered = this.#previous.then(() => this.#render({ template, input }))
    this.#previous = rendered.catch(() => undefined)
    return rendered
  }

  close(): void {
    this.#renderer?.kill('SIGKILL')
    this.#renderer = undefined
  }

  async #render(request: RenderRequest): Promise<string> {
    if (this.#refused.has(request.template)) throw tooMuch()
    const renderer = await this.#running()
    renderer.send(request)
    const rendered = await message(renderer, this.#maxRenderMs)
    if (rendered === undefined) {
      this.#refuse(request.template)
      this.close()
      throw tooMuch()
    }
    if ('text' in rendered) return rendered.text
    const reason = rendered.error.split('\n')[0]!.replace(/\.?$/, '.')
    throw new BackendError('bad_request', `The adapter's chat template refuses these messages: ${reason}`)
  }

  /** The process, started where there is none or it has ended by itself. */
  async #running(): Promise<ChildProcess> {
    if (this.#renderer?.connected) return this.#renderer
    const renderer = fork(RENDERER, { execArgv: [`--max-old-space-size=${MAX_MEMORY_MB}`], stdio: 'ignore', env: {} })
    // Neither the process nor its channel keeps this one alive.
    renderer.unref()
    renderer.channel?.unref()
    this.#renderer = renderer
    if ((await message(renderer, MAX_START_MS)) !== undefined) return renderer
    this.close()
    throw new BackendError('unavailable', "The process that renders adapters' chat templates did not start.")
  }

  #refuse(template: string): void {
    const [oldest] = this.#refused
    if (oldest !== undefined && this.#refused.size >= MAX_REFUSED) this.#refused.delete(oldest)
    this.#refused.add(template)
  }
}

function tooMuch(): BackendError {
  return new BackendError(
    'bad_request',
    "The adapter's chat template takes too much time or memory: publish the adapter with another one.",
  )
}

/** The next message of `renderer`; undefined where none comes in time or the process ends. */
function message(renderer: ChildProcess, maxMs: number): Promise<Rendered | undefined> {
  return new Promise((resolve) => {
    const end = (rendered?: Rendered) => {
      clearTimeout(timer)
      renderer.removeAllListeners()
      renderer.on('error', () => {})
      resolve(rendered)
    }
    const timer = setTimeout(end, maxMs)
    renderer.once('message', (rendered) => end(rendered as Rendered))
    renderer.once('exit', () => end())
    renderer.once('error', () => end())
  })
}
