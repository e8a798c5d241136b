// A directory for one test file's own use, gone when it ends.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll } from 'vitest'

/** Makes an empty directory and removes it after the tests that are registered here. */
export function temporaryDir(): string {
  const dir = mkdtempSync(join(tmpdir(), 'polylora-test-'))
  afterAll(() => rmSync(dir, { recursive: true, force: true }))
  return dir
}
