import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { DigestMismatch, type ObjectStore } from '../../functions/registry/objects.ts'
import { StorageFailed, withNamedFailures } from '../../functions/registry/storage-failure.ts'
import type { Digest } from '../../gpu-backend/protocol.ts'

const DIGEST = `sha256:${'0'.repeat(64)}` as Digest
/** More than anybody who asks for an adapter should wait for its file. */
const LONG_MS = 60_000

/** A store that does the same whatever it is asked. */
function storeThat(answers: () => Promise<never>): ObjectStore {
  const [put, tryOpen, putPart, listParts] = [answers, answers, answers, answers]
  const [tryGetBytes, tryOpenPart, deleteParts] = [answers, answers, answers]
  return { put, tryOpen, tryGetBytes, delete: answers, putPart, listParts, tryOpenPart, deleteParts }
}

beforeEach(() => {
  vi.useFakeTimers()
})
afterEach(() => {
  vi.useRealTimers()
})

test('a store that never begins with a file has failed', async () => {
  const store = withNamedFailures(storeThat(() => new Promise(() => undefined)))
  const opened = [store.tryOpen(DIGEST), store.tryOpenPart({ tenant: 'acme', digest: DIGEST, part: 1 })]
  const outcomes = Promise.all(opened.map((each) => each.catch((error: unknown) => error)))
  await vi.advanceTimersByTimeAsync(LONG_MS)
  expect(await outcomes).toEqual([expect.any(StorageFailed), expect.any(StorageFailed)])
})

test('bytes that are not what their digest says are no failure of the store', async () => {
  const store = withNamedFailures(storeThat(() => Promise.reject(new DigestMismatch())))
  await expect(store.put(DIGEST, new ReadableStream(), 0)).rejects.toBeInstanceOf(DigestMismatch)
})
