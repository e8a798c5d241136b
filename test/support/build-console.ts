// Builds the console once before any test, so that no two edges build it at the same time.
import { execFileSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'

export default function setup(): void {
  execFileSync(process.execPath, [fileURLToPath(new URL('../../scripts/build-console.ts', import.meta.url))])
}
