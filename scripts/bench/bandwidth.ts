// How fast this machine reads memory: the limit of whatever is bound by it.
// Every core compares two equal buffers, far larger than the caches, which reads both from end to end.
import { availableParallelism } from 'node:os'
import { isMainThread, parentPort, Worker } from 'node:worker_threads'

const BUFFER_BYTES = 128 * 2 ** 20
const ROUNDS = 8

/** Bytes per second of all cores together. */
export async function readBandwidth(): Promise<number> {
  const workers = Array.from({ length: availableParallelism() }, () => new Worker(new URL(import.meta.url)))
  const message = (worker: Worker) => new Promise((resolve) => worker.once('message', resolve))
  await Promise.all(workers.map(message))
  const startMs = performance.now()
  const answers = Promise.all(workers.map(message))
  for (const worker of workers) worker.postMessage('go')
  await answers
  const seconds = (performance.now() - startMs) / 1000
  await Promise.all(workers.map((worker) => worker.terminate()))
  return (workers.length * ROUNDS * 2 * BUFFER_BYTES) / seconds
}

if (!isMainThread && parentPort) {
  const port = parentPort
  const [one, other] = [Buffer.alloc(BUFFER_BYTES, 1), Buffer.alloc(BUFFER_BYTES, 1)]
  port.once('message', () => {
    let different = 0
    for (let round = 0; round < ROUNDS; round++) different += one.compare(other)
    port.postMessage(different)
  })
  port.postMessage('ready')
}
