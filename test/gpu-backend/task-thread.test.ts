import { afterEach, expect, test } from 'vitest'
import { TaskThread } from '../../gpu-backend/task-thread.ts'

const REPEATING = new URL('../support/repeating-thread.ts', import.meta.url)

let thread: TaskThread<unknown, unknown>

afterEach(() => thread.close())

test('what the thread cannot be given fails alone: later answers go to those who asked for them', async () => {
  thread = new TaskThread(REPEATING, undefined, 'repeats')
  const first = thread.run('first')
  await expect(thread.run(() => {})).rejects.toThrow('could not be cloned')
  expect([await first, await thread.run('second')]).toEqual(['first', 'second'])
})

test('a request for which the thread could not be started fails alone: the next one starts it', async () => {
  let isFull = true
  const workerData = {
    get memory() {
      if (isFull) throw new Error('no memory')
      return 0
    },
  }
  thread = new TaskThread(REPEATING, workerData, 'repeats')
  await expect(thread.run('first')).rejects.toThrow('no memory')
  isFull = false
  expect(await thread.run('second')).toBe('second')
})
