// The thread that tokenises long texts, with a tokenizer of its own.
import { workerData } from 'node:worker_threads'
import { runTasks } from '../task-thread.ts'
import { type PromptKind, Tokenizer, type TokenizerSource } from './tokenizer.ts'

export interface EncodeRequest {
  readonly text: string
  readonly kind: PromptKind
}

const { files, vocabSize } = workerData as TokenizerSource
const tokenizer = new Tokenizer(files, vocabSize)

runTasks(({ text, kind }: EncodeRequest) => tokenizer.encodeAs(text, kind))
