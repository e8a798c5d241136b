import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { expect, test } from 'vitest'
import { lockState } from '../../../scripts/start/lock-state.ts'
import { temporaryDir } from '../../support/temporary-dir.ts'

const state = temporaryDir()
const MODULE = new URL('../../../scripts/start/lock-state.ts', import.meta.url)

test('a state folder is for one npm start at a time, and free again when that has ended, however it did', async () => {
  const script = `import { lockState } from ${JSON.stringify(MODULE.href)}
    globalThis.lock = lockState(process.argv[1])
    process.stdout.write('taken')
    setInterval(() => {}, 1000)`
  const other = spawn(process.execPath, ['--input-type=module', '-e', script, state], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  await once(other.stdout, 'data')
  expect(() => lockState(state)).toThrow(/Another npm start is using .*: stop it, or give --state another folder\.$/)
  other.kill('SIGKILL')
  await once(other, 'exit')
  const lock = lockState(state)
  expect(() => lockState(state)).toThrow(/Another npm start/)
  lock.release()
  lockState(state).release()
})
