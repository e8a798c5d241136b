// A call to the edge that is made again where the network, or a server that is failing, was in its way.
import { setTimeout as delay } from 'node:timers/promises'
import { CliError } from './cli-error.ts'

/** Attempts before it is given up. */
const MAX_ATTEMPTS = 5

/** `delayMs` is waited before the n-th attempt but one. Throws what `call` throws at last, or what another attempt cannot change. */
export async function patiently<Value>(
  call: () => Promise<Value>,
  delayMs: (attempt: number) => number,
): Promise<Value> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await call()
    } catch (error) {
      const passing = error instanceof CliError && error.exitCode === 3
      if (!passing || attempt === MAX_ATTEMPTS) throw error
      await delay(delayMs(attempt))
    }
  }
}
