// What runs in the second thread: graphs, one after another, until it is closed.
import { parentPort, workerData } from 'node:worker_threads'
import { loadApi } from './ort-api.ts'
import { type Exchange, STATE } from './second-thread.ts'

const { state, run } = workerData as Exchange
const { RunWithBinding } = loadApi()
parentPort!.postMessage('ready')
for (;;) {
  const seen = Atomics.load(state, 0)
  if (seen === STATE.closed) break
  if (seen === STATE.running) {
    Atomics.store(state, 0, runOnce())
    Atomics.notify(state, 0)
  } else {
    Atomics.wait(state, 0, seen)
  }
}
parentPort!.close()

function runOnce(): number {
  try {
    run[2] = (RunWithBinding(run[0], null, run[1]) as bigint | null) ?? 0n
    return STATE.idle
  } catch {
    // Whoever waits must not wait for ever.
    return STATE.failed
  }
}
