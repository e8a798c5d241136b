// Which of the edge's failures the command line waits for: the same for every upload.
import { setTimeout as delay } from 'node:timers/promises'
import type { Patience } from '../functions/client/patiently.ts'
import { CliError } from './cli-error.ts'

/** `delayMs` is waited after the n-th attempt in a row that brought nothing. */
export function edgePatience(delayMs: (attempt: number) => number): Patience {
  return {
    isPassing: (error) => error instanceof CliError && error.exitCode === 3,
    pause: (attempt) => delay(delayMs(attempt)),
  }
}
