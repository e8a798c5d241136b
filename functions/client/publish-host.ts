// What publishing needs of the machine it runs on: Node for the command line, a browser for the console.
import type * as z from 'zod/mini'
import type { TemplateInput } from './check-chat-template.ts'

/** `fetch` to a path of the edge with the publisher's key. Throws, in one sentence, unless the answer is 2xx. */
export type CallEdge = (path: string, init?: RequestInit) => Promise<Response>

export interface PublishHost {
  readonly call: CallEdge
  /** A JSON answer, parsed. Throws as `call`, and where the answer is something else. */
  read<Value>(path: string, schema: z.ZodMiniType<Value>): Promise<Value>
  /** As `read`, of an adapter's path; undefined where there is no such adapter. */
  tryReadAdapter<Value>(path: string, schema: z.ZodMiniType<Value>): Promise<Value | undefined>
  /** Gathers the canonical file where it can be uploaded from. Throws what `pieces` throws. */
  spool(pieces: AsyncIterable<Uint8Array<ArrayBuffer>>): Promise<SpooledDelta>
  /** In bounded time and memory. Throws UnrenderableTemplate. */
  renderTemplate(text: string, input: TemplateInput): Promise<string>
}

export interface SpooledDelta {
  readonly digest: string
  /** Uploads the file as a version of the adapter; a name that is in use goes on pointing where it points. Throws as `call`. */
  upload(upload: DeltaUpload): Promise<void>
  release(): Promise<void>
}

export interface DeltaUpload {
  /** Of the adapter: /v1/adapters/<tenant>/<name> */
  readonly path: string
  readonly bytes: number
  readonly onProgress: (sentBytes: number) => void
}
