// A server of `npm start` whose parent is killed: nobody is left to stop it.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { expect, test, vi } from 'vitest'
import { groupsBelow, processesOf } from '../../support/process-group.ts'
import { temporaryDir } from '../../support/temporary-dir.ts'

const SERVER_PROCESS = fileURLToPath(new URL('../../../scripts/start/server-process.ts', import.meta.url))
const root = temporaryDir()
const POLL_MS = 20
/** A server with a child of its own, as wrangler has; neither ends by itself. */
const SERVER = `
  const { spawn } = require('node:child_process')
  spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)'], { stdio: 'ignore' })
  setInterval(() => {}, 1000)`

/** A process that has started SERVER and says so. */
const PARENT = `
  import { ServerProcess } from ${JSON.stringify(SERVER_PROCESS)}
  const options = { title: 'It', cwd: '.', env: process.env, startTimeoutMs: 1000 }
  new ServerProcess({ ...options, args: ['-e', ${JSON.stringify(SERVER)}], logFile: ${JSON.stringify(join(root, 'log'))} })
  console.log('started')
  setInterval(() => {}, 1000)`

test('ends with its own children when its parent is killed', async () => {
  const parent = spawn(process.execPath, ['--input-type=module', '-e', PARENT], { stdio: ['ignore', 'pipe', 'ignore'] })
  await once(parent.stdout, 'data')
  const [server] = groupsBelow(parent.pid!).sort((x, y) => x - y)
  while (processesOf(server!).length < 2) await sleep(POLL_MS)
  parent.kill('SIGKILL')
  try {
    await vi.waitFor(() => expect(processesOf(server!)).toEqual([]), { timeout: 10_000, interval: POLL_MS })
  } finally {
    if (processesOf(server!).length > 0) process.kill(-server!, 'SIGKILL')
  }
})
