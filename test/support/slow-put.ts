import { digestOf, type EdgeHarness } from './edge-harness.ts'
import { slowRequest } from './slow-request.ts'

/** Bytes that are held back. */
export const HELD_BACK = 32

/**
 * A PUT of a file to the edge whose last bytes are held back until `finish`, which gives the answer's status. `digest` is what
 * the file is said to hash to.
 */
export function slowPut(edge: EdgeHarness, key: string, path: string, bytes: Uint8Array, digest = digestOf(bytes)) {
  const put = { method: 'PUT', path, headers: { 'x-polylora-digest': digest } }
  const upload = slowRequest(edge, key, put, bytes, bytes.byteLength - HELD_BACK)
  return { finish: async () => (await upload.finish()).status }
}
