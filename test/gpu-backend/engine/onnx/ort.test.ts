import { execFileSync } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { expect, test } from 'vitest'
import { temporaryDir } from '../../../support/temporary-dir.ts'

const MODULE = new URL('../../../../gpu-backend/engine/onnx/ort.ts', import.meta.url)

test('ONNX Runtime tells nobody of its use: it leaves nothing in the user’s folders, where it keeps what it is to send', () => {
  const dir = temporaryDir()
  const script = `import { OnnxRuntime } from ${JSON.stringify(MODULE.href)}; new OnnxRuntime().release()`
  const env = { PATH: process.env.PATH, HOME: dir, XDG_CACHE_HOME: dir, TMPDIR: dir }
  execFileSync(process.execPath, ['--input-type=module', '-e', script], { env })
  expect(readdirSync(dir)).toEqual([])
})
