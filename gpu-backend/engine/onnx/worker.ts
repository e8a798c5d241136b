// The engine's own thread: it runs the graph while the server's thread talks. Messages in, steps, messages out.
import { once } from 'node:events'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { parentPort, workerData } from 'node:worker_threads'
import { AdapterCache } from '../../residency/adapter-cache.ts'
import { deltaPath, readDeltaFile } from '../../residency/delta-file.ts'
import type { FromWorker, ToWorker, WorkerOptions } from './messages.ts'
import { OwnCore } from './own-core.ts'
import { Runner } from './runner.ts'
import { Step } from './step.ts'

/** Deadlines of sequences that wait are looked at this often when there is nothing to run. */
const IDLE_CHECK_MS = 100

async function main(options: WorkerOptions): Promise<void> {
  const port = parentPort!
  const post = (message: FromWorker) => port.postMessage(message)
  let wake = () => {}
  let closing = false
  const runner = new Runner(options)
  const cache = new AdapterCache(
    options.hostDeltaBytes,
    (digest) => readDeltaFile(deltaPath(options.deltaDir, digest), runner.groups, options.base),
    (delta) => runner.forget(delta.digest),
  )
  // Made in the server's thread while the graph was loaded here.
  const [{ vocabulary }] = (await once(port, 'message')) as [Extract<ToWorker, { type: 'vocabulary' }>]
  const step = new Step({ ...options, vocabulary }, runner, cache, post, () => wake())
  const evictions: { digest: string; call: number }[] = []
  const handle = (message: ToWorker) => {
    switch (message.type) {
      case 'add':
        return step.add(message.sequences)
      case 'cancel':
        return step.cancel(message.ids)
      case 'stop':
        return step.stop(message.id)
      case 'evict':
        evictions.push(message)
        return
      case 'report':
        return post({ type: 'report', call: message.call, report: step.report() })
      case 'close':
        closing = true
    }
  }
  port.on('message', (message: ToWorker) => {
    handle(message)
    wake()
  })
  const core = options.ownCore ? OwnCore.ofThisThread() : undefined
  post({ type: 'ready' })
  while (!closing) {
    const ran = step.run(Date.now())
    for (const { digest, call } of evictions.splice(0)) {
      if (step.evict(digest)) post({ type: 'evicted', call })
      else evictions.push({ digest, call })
    }
    if (ran) {
      core?.look(performance.now())
      await nextTurn()
    } else {
      await new Promise<void>((resolve) => {
        const timer = step.isIdle ? undefined : setTimeout(resolve, IDLE_CHECK_MS)
        wake = () => {
          clearTimeout(timer)
          resolve()
        }
      })
    }
  }
  core?.release()
  runner.release()
  port.close()
}

main(workerData as WorkerOptions).catch((error: unknown) => {
  parentPort!.postMessage({
    type: 'fatal',
    message: error instanceof Error ? error.message : String(error),
  } satisfies FromWorker)
})
