// A script whose output nobody takes, in a process of its own.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, existsSync, openSync } from 'node:fs'
import { text } from 'node:stream/consumers'
import { expect, test } from 'vitest'

/** A device of Linux that is always full. */
const FULL = '/dev/full'

/** Writes for ever. */
const WRITER = `
  import { runScript } from './scripts/run-script.ts'
  await runScript(async () => {
    for (;;) {
      process.stdout.write('a line\\n')
      await new Promise((resolve) => setTimeout(resolve, 5))
    }
  })`

function start(stdout: 'pipe' | number) {
  return spawn(process.execPath, ['--input-type=module', '--eval', WRITER], { stdio: ['ignore', stdout, 'pipe'] })
}

test.runIf(existsSync(FULL))('output that finds no room ends a script with one sentence', async () => {
  const full = openSync(FULL, 'w')
  try {
    const child = start(full)
    const [err, [code]] = await Promise.all([text(child.stderr!), once(child, 'exit')])
    expect([code, err.split('\n')]).toEqual([1, [expect.stringContaining('could not be written (ENOSPC'), '']])
  } finally {
    closeSync(full)
  }
})

test('a reader that stops reading, as head does, ends a script in silence', async () => {
  const child = start('pipe')
  child.stdout!.once('data', () => child.stdout!.destroy())
  const [err, [code]] = await Promise.all([text(child.stderr!), once(child, 'exit')])
  expect([code, err]).toEqual([0, ''])
})
