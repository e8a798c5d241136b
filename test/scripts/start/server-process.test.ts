// A server of `npm start`: how long it is waited for, and what becomes of it when its parent is killed and nobody is left to stop it.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { expect, test, vi } from 'vitest'
import { ServerProcess } from '../../../scripts/start/server-process.ts'
import { freePort } from '../../support/free-port.ts'
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

/** A server that says each of the steps, so many milliseconds apart, and listens then. */
function slowServer(port: number, steps: readonly string[], everyMs: number): string {
  return `
    const steps = ${JSON.stringify(steps)}
    const timer = setInterval(() => {
      const step = steps.shift()
      if (step !== undefined) return step && console.error(JSON.stringify({ event: 'starting', step }))
      clearInterval(timer)
      require('node:http').createServer((_, response) => response.end()).listen(${port}, '127.0.0.1')
    }, ${everyMs})`
}

async function waitFor(steps: readonly string[], startTimeoutMs: number) {
  const port = await freePort()
  const logFile = join(root, `${port}.log`)
  const args = ['-e', slowServer(port, steps, 500)]
  const server = new ServerProcess({ title: 'It', args, cwd: '.', env: process.env, logFile, startTimeoutMs })
  const told: string[] = []
  try {
    await server.untilReady(`http://127.0.0.1:${port}/`, (step) => told.push(step))
  } finally {
    await server.stop()
  }
  return told
}

test('is waited for as long as it says what it does, and that is told', async () => {
  const steps = Array.from({ length: 12 }, (_, i) => `preparing: ${i}%`)
  expect((await waitFor(steps, 4000)).at(-1)).toBe(steps.at(-1))
})

test('is given up once it has said nothing for too long', async () => {
  const silent = waitFor(
    [...Array(100).keys()].map(() => ''),
    1500,
  )
  await expect(silent).rejects.toThrow(/^It has said nothing for 1\.5 s: see .*\.log\.$/)
})
