// The thread that tokenises long texts, with a tokenizer of its own. Texts in, tokens or a refusal out, in order.
import { parentPort, workerData } from 'node:worker_threads'
import { BackendError } from '../errors.ts'
import type { ErrorCode } from '../protocol.ts'
import { type PromptKind, Tokenizer, type TokenizerSource } from './tokenizer.ts'

export interface EncodeRequest {
  readonly call: number
  readonly texts: readonly string[]
  readonly kind: PromptKind
}

export type EncodeAnswer =
  | { readonly call: number; readonly tokens: Int32Array[] }
  | { readonly call: number; readonly code: ErrorCode; readonly message: string }

const { files, vocabSize } = workerData as TokenizerSource
const tokenizer = new Tokenizer(files, vocabSize)

function answerTo({ call, texts, kind }: EncodeRequest): EncodeAnswer {
  try {
    return { call, tokens: texts.map((text) => tokenizer.encodeAs(text, kind)) }
  } catch (error) {
    if (!(error instanceof BackendError)) throw error
    return { call, code: error.code, message: error.message }
  }
}

parentPort!.on('message', (request: EncodeRequest) => parentPort!.postMessage(answerTo(request)))
