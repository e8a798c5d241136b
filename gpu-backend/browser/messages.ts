// What passes between the page and the worker that runs the model, and the words that both have for it.
import type { ChatMessage, FinishReason, SamplingParams, TemplateKwargs, TokenLogprob, Usage } from '../protocol.ts'
import type { BrowserModel } from './manifest.ts'

/** Where the graph runs: on the GPU, or on the CPU as WebAssembly. */
export type BrowserDevice = 'webgpu' | 'wasm'

/** How far a download is; what was stored by an earlier one counts as loaded. */
export interface Progress {
  readonly what: 'base' | 'adapter'
  readonly loadedBytes: number
  readonly totalBytes: number
}

/** What the worker needs to open the model. */
export interface OpenOptions {
  readonly edge: string
  readonly apiKey: string
  readonly device: BrowserDevice | undefined
}

/** What is open. */
export interface OpenedModel {
  readonly manifest: BrowserModel
  readonly device: BrowserDevice
}

/** A version of an adapter that is on this machine. */
export interface LoadedAdapter {
  /** `tenant/name` */
  readonly name: string
  readonly digest: string
  readonly bytes: number
}

/** What to generate. Exactly one of `messages` and `prompt`; without an adapter the bare base model answers. */
export interface LocalRequest {
  readonly adapter?: LoadedAdapter | null | undefined
  readonly messages?: readonly ChatMessage[] | undefined
  readonly prompt?: string | undefined
  readonly chat_template_kwargs?: TemplateKwargs | undefined
  /** As in the API; what is left out is its default there. */
  readonly sampling?: Partial<SamplingParams> | undefined
}

/** What generating yields, in this order. */
export type LocalEvent =
  | { readonly event: 'started'; readonly promptTokens: number }
  | {
      readonly event: 'text'
      readonly text: string
      readonly tokens: number
      readonly logprobs: readonly TokenLogprob[] | undefined
    }
  | { readonly event: 'finished'; readonly reason: FinishReason }
  | { readonly event: 'done'; readonly usage: Usage; readonly ttftMs: number; readonly totalMs: number }

/** `call` ties an answer to its question. */
export type ToWorker =
  | { readonly type: 'open'; readonly call: number; readonly options: OpenOptions }
  | { readonly type: 'load'; readonly call: number; readonly name: string }
  | { readonly type: 'generate'; readonly call: number; readonly request: LocalRequest }
  | { readonly type: 'abort'; readonly call: number }

export type FromWorker =
  | { readonly type: 'progress'; readonly call: number; readonly progress: Progress }
  | { readonly type: 'event'; readonly call: number; readonly event: LocalEvent }
  | { readonly type: 'ended'; readonly call: number; readonly value: OpenedModel | LoadedAdapter | null }
  | { readonly type: 'failed'; readonly call: number; readonly code: string; readonly message: string }
