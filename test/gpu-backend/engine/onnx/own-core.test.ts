// A core for one thread: who may run where, and that others who need it get it.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readlinkSync } from 'node:fs'
import { basename } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { OwnCore } from '../../../../gpu-backend/engine/onnx/own-core.ts'
import { coresOfThreads } from '../../../support/cores-of-threads.ts'

/** As where the process has as many files open as it may. */
const files = vi.hoisted(() => ({ tooMany: false }))

vi.mock(import('node:fs'), async (importOriginal) => {
  const real = await importOriginal()
  const limited = <Call extends (...args: never[]) => unknown>(call: Call) =>
    ((...args: Parameters<Call>) => {
      if (files.tooMany) throw Object.assign(new Error('EMFILE: too many open files'), { code: 'EMFILE' })
      return call(...args)
    }) as Call
  return { ...real, readdirSync: limited(real.readdirSync), readFileSync: limited(real.readFileSync) }
})

/** Not on another system, or with one core. */
const isPossible = OwnCore.ofThisThread() !== undefined

describe.runIf(isPossible)('a core of its own', () => {
  const me = isPossible ? basename(readlinkSync('/proc/thread-self')) : ''
  const all = isPossible ? mine() : []
  const rivals: ChildProcess[] = []
  let core: OwnCore

  afterEach(async () => {
    files.tooMany = false
    core.release()
    for (const rival of rivals.splice(0)) {
      rival.kill('SIGKILL')
      await once(rival, 'exit')
    }
  })

  /** Where this thread may run. */
  function mine(): readonly number[] {
    return coresOfThreads(process.pid).get(me)!
  }

  function take(): void {
    core = OwnCore.ofThisThread()!
    core.look(0)
    expect(mine()).toHaveLength(1)
  }

  function expectAllEverywhere(): void {
    for (const cores of coresOfThreads(process.pid).values()) expect(cores).toEqual(all)
  }

  test('is the thread’s alone: the process’s others have the rest', () => {
    take()
    const [own] = mine()
    for (const [thread, cores] of coresOfThreads(process.pid))
      if (thread !== me) expect(cores).toEqual(all.filter((one) => one !== own))
  })

  test('is given back with every other', () => {
    take()
    core.release()
    expectAllEverywhere()
  })

  test('is kept while the thread has hardly anything to do', () => {
    take()
    const own = mine()
    for (const seconds of [1, 2, 3]) core.look(seconds * 1000)
    expect(mine()).toEqual(own)
  })

  test('is neither taken nor given up while no file can be opened', () => {
    take()
    const own = mine()
    files.tooMany = true
    core.release()
    core.look(1_000)
    files.tooMany = false
    expect(mine()).toEqual(own)
    core.release()
    files.tooMany = true
    core.look(2_000)
    files.tooMany = false
    expectAllEverywhere()
    core.look(3_000)
    expect(mine()).toHaveLength(1)
  })

  test('is given up for a minute where the thread has to wait for it', async () => {
    take()
    // What a thread starts has its cores.
    for (let i = 0; i < 3; i++) rivals.push(spawn('sh', ['-c', 'while :; do :; done']))
    await sleep(50)
    const start = process.cpuUsage().user
    while (process.cpuUsage().user - start < 300_000);
    core.look(999)
    expect(mine()).toHaveLength(1)
    core.look(1_000)
    expectAllEverywhere()
    core.look(60_999)
    expectAllEverywhere()
    core.look(61_000)
    expect(mine()).toHaveLength(1)
  })
})
