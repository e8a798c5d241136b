// The worker in which a page's model lives: questions in, answers out. Started by index.ts.
// Invariant: every question is answered once, with `ended` or `failed`.
import * as z from 'zod/mini'
import type { FromWorker, Progress, ToWorker } from './messages.ts'
import { OpenModel } from './open-model.ts'

// zod/mini speaks no language by itself, and refusals quote its messages.
z.config(z.locales.en())

/** This worker's own scope, as far as it is used. */
const scope = globalThis as unknown as DedicatedWorkerGlobalScope

/** The model, once it was asked for. */
let model: Promise<OpenModel> | undefined
/** Of the questions that are being answered. */
const running = new Map<number, AbortController>()

scope.addEventListener('message', ({ data }: MessageEvent<ToWorker>) => {
  if (data.type === 'abort') running.get(data.call)?.abort()
  else void answer(data)
})

function post(message: FromWorker): void {
  scope.postMessage(message)
}

async function answer(question: Exclude<ToWorker, { type: 'abort' }>): Promise<void> {
  const { call } = question
  const abort = new AbortController()
  running.set(call, abort)
  try {
    post({ type: 'ended', call, value: await work(question, abort.signal) })
  } catch (error) {
    const { code, message } = error as { code?: unknown; message?: unknown }
    post({
      type: 'failed',
      call,
      code: typeof code === 'string' ? code : 'internal',
      message: String(message ?? error),
    })
  } finally {
    running.delete(call)
  }
}

async function work(question: Exclude<ToWorker, { type: 'abort' }>, signal: AbortSignal) {
  const { call } = question
  const onProgress = (progress: Progress) => post({ type: 'progress', call, progress })
  switch (question.type) {
    case 'open':
      model = OpenModel.open(question.options, onProgress)
      return (await model).opened
    case 'load':
      return (await model!).load(question.name, onProgress, signal)
    case 'generate': {
      const events = (await model!).generate(question.request, signal)
      for await (const event of events) post({ type: 'event', call, event })
      return null
    }
  }
}
