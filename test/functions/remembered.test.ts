import { describe, expect, test } from 'vitest'
import { FRESH_MS, Remembered } from '../../functions/remembered.ts'

const HALF_MS = FRESH_MS / 2
const nobody = { waitUntil: () => undefined }
const forbidden = () => Promise.reject(new Error('was looked up'))
const one = (value: string) => () => Promise.resolve(value)

/** A look-up that ends when the test says so. */
function pending() {
  const { promise, resolve } = Promise.withResolvers<string | undefined>()
  return { load: () => promise, end: resolve }
}

describe('what was looked up', () => {
  test('is given out again without another look-up as long as it is fresh', async () => {
    const remembered = new Remembered<string>(10)
    expect(await remembered.get('key', 0, one('first'), nobody)).toBe('first')
    expect(await remembered.get('key', HALF_MS - 1, forbidden, nobody)).toBe('first')
  })

  test('is waited for anew once it is old', async () => {
    const remembered = new Remembered<string>(10)
    await remembered.get('key', 0, one('first'), nobody)
    const second = pending()
    const asked = remembered.get('key', FRESH_MS, second.load, nobody)
    second.end('second')
    expect(await asked).toBe('second')
    expect(await remembered.get('key', FRESH_MS + 1, forbidden, nobody)).toBe('second')
  })

  test('is renewed in the background by a use before it is old, once at a time', async () => {
    const remembered = new Remembered<string>(10)
    await remembered.get('key', 0, one('first'), nobody)
    const second = pending()
    const waited: Promise<unknown>[] = []
    const request = { waitUntil: (promise: Promise<unknown>) => void waited.push(promise) }
    expect(await remembered.get('key', HALF_MS, second.load, request)).toBe('first')
    expect(await remembered.get('key', HALF_MS + 1, forbidden, request)).toBe('first')
    expect(waited).toHaveLength(1)
    second.end('second')
    await Promise.all(waited)
    expect(await remembered.get('key', FRESH_MS, forbidden, request)).toBe('second')
  })

  test('is not remembered where it was read before all was forgotten', async () => {
    const remembered = new Remembered<string>(10)
    const old = pending()
    const asked = remembered.get('key', 0, old.load, nobody)
    remembered.forget()
    old.end('old')
    expect(await asked).toBe('old')
    expect(await remembered.get('key', 1, one('new'), nobody)).toBe('new')
  })

  test('is not remembered where there was nothing, nor are more than the most', async () => {
    const remembered = new Remembered<string>(2)
    expect(await remembered.get('none', 0, () => Promise.resolve(undefined), nobody)).toBeUndefined()
    expect(await remembered.get('none', 1, one('made since'), nobody)).toBe('made since')
    await remembered.get('second', 1, one('second'), nobody)
    await remembered.get('third', 1, one('third'), nobody)
    expect(await remembered.get('none', 2, one('read again'), nobody)).toBe('read again')
  })
})
