// How `npm start` is asked to end: by Ctrl-C, a signal, or the end of the npm that started it. Stops nothing by itself.
import type { ServerProcess } from './server-process.ts'

const PARENT_CHECK_MS = 500

/** Aborted by the first Ctrl-C (or its like), or when npm is gone; a second Ctrl-C ends the servers at once. */
export function stopOnSignal(servers: readonly ServerProcess[]): AbortSignal {
  const controller = new AbortController()
  const parent = process.ppid
  const watchParent = () => {
    if (process.ppid !== parent) controller.abort()
  }
  // npm passes a signal on to the shell between us, which does not.
  if (process.env.npm_lifecycle_event) setInterval(watchParent, PARENT_CHECK_MS).unref()
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(signal, () => {
      if (controller.signal.aborted) for (const server of servers) server.kill()
      else process.stdout.write('\nStopping …\n')
      controller.abort()
    })
  }
  return controller.signal
}
