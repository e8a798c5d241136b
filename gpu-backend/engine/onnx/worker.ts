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
  const closing = new AbortController()
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
        closing.abort()
    }
  }
  port.on('message', (message: ToWorker) => {
    handle(message)
    wake()
  })
  const core = options.ownCore ? OwnCore.ofThisThread() : undefined
  post({ type: 'ready' })
  const readyMs = performance.now()
  const variants = runner.loadVariants(closing.signal).then(() => {
    if (!closing.signal.aborted) post({ type: 'loaded', ms: Math.round(performance.now() - readyMs) })
  })
  variants.catch(fail)
  while (!closing.signal.aborted) {
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
  await variants
  runner.release()
  port.close()
}

function fail(error: unknown): void {
  const message = error instanceof Error ? error.message : String(error)
  parentPort!.postMessage({ type: 'fatal', message } satisfies FromWorker)
}

main(workerData as WorkerOptions).catch(fail)
