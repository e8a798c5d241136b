// The end of a process that the benchmark has started.
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'

/** Asks it to end and waits until it has; one that the system has killed, for its memory say, has ended already. */
export async function endProcess(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const exited = once(child, 'exit')
  child.stdin?.end()
  child.kill('SIGTERM')
  await exited
}
