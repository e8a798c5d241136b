// Imported before the backend's process: on SIGUSR2 its engine's thread says that it cannot go on, as where its loop has failed.
import { syncBuiltinESMExports } from 'node:module'
import threads from 'node:worker_threads'
import type { FromWorker } from '../../gpu-backend/engine/onnx/messages.ts'

export const FAILURE = 'the graph broke'

const { Worker } = threads
class WatchedWorker extends Worker {
  constructor(...given: ConstructorParameters<typeof Worker>) {
    super(...given)
    if (!String(given[0]).endsWith('/engine/onnx/worker.ts')) return
    process.once('SIGUSR2', () => this.emit('message', { type: 'fatal', message: FAILURE } satisfies FromWorker))
  }
}

if (threads.isMainThread && process.argv[1]?.endsWith('/gpu-backend/main.ts')) {
  threads.Worker = WatchedWorker
  syncBuiltinESMExports()
}
