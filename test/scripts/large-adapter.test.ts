import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'

const SCRIPT = fileURLToPath(new URL('../support/convert-large-adapter.ts', import.meta.url))

test('an adapter above 100 MB is checked and written with less than 300 MB of memory', () => {
  const folder = mkdtempSync(join(tmpdir(), 'polylora-large-'))
  try {
    const file = join(folder, 'delta.safetensors')
    const { bytes, peakBytes } = JSON.parse(execFileSync(process.execPath, [SCRIPT, file], { encoding: 'utf8' }))
    expect(bytes).toBeGreaterThan(100e6)
    expect(statSync(file).size).toBe(bytes)
    expect(peakBytes).toBeLessThan(300e6)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
})
