// A machine that does nothing else: what was measured before may go on for a while. The worker of vLLM's server waits for its next
// request in a loop: it takes a whole core for a second after an answer, and whoever came next had half a machine.
import { availableParallelism, cpus } from 'node:os'
import { setTimeout as sleep } from 'node:timers/promises'

const WATCHED_MS = 200
/** Of the processors' time: a machine at rest does a little now and then. */
const BUSY_SHARE = 0.05
/** A machine that others share may never rest. */
const PATIENCE_MS = 5000

/** Resolves once the machine has rested for a fifth of a second, or has not for five seconds. */
export async function untilQuiet(): Promise<void> {
  for (let waitedMs = 0; waitedMs < PATIENCE_MS; waitedMs += WATCHED_MS) {
    const before = busyMs()
    await sleep(WATCHED_MS)
    if (busyMs() - before < BUSY_SHARE * WATCHED_MS * availableParallelism()) return
  }
}

/** Of all processors, since the machine started. */
function busyMs(): number {
  return cpus().reduce((sum, { times: { user, nice, sys, irq } }) => sum + user + nice + sys + irq, 0)
}
