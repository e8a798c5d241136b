// The end of a process that the benchmark has started.
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { SIGNALS } from '../passing-folder.ts'

/** Asks it to end and waits until it has; one that the system has killed, for its memory say, has ended already. */
export async function endProcess(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const exited = once(child, 'exit')
  child.stdin?.end()
  child.kill('SIGTERM')
  await exited
}

/** From now on a signal that ends this process ends the child, too, at once: nobody waits for its answers any more. */
export function endWithUs(child: ChildProcess): void {
  const interrupted = (signal: NodeJS.Signals) => {
    child.kill('SIGKILL')
    if (process.listenerCount(signal) === 0) process.kill(process.pid, signal)
  }
  // Before a folder is removed that it writes to.
  for (const signal of SIGNALS) process.prependOnceListener(signal, interrupted)
  child.once('exit', () => {
    for (const signal of SIGNALS) process.off(signal, interrupted)
  })
}
