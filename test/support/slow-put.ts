import { once } from 'node:events'
import { request as httpRequest, type IncomingMessage } from 'node:http'
import { digestOf, type EdgeHarness } from './edge-harness.ts'

/** Bytes that are held back. */
export const HELD_BACK = 32

/**
 * A PUT of a file to the edge whose last bytes are held back until `finish`, which gives the answer's status. `digest` is what
 * the file is said to hash to.
 */
export function slowPut(edge: EdgeHarness, key: string, path: string, bytes: Uint8Array, digest = digestOf(bytes)) {
  const { hostname, port } = new URL(edge.url)
  const headers = {
    authorization: `Bearer ${key}`,
    'x-polylora-digest': digest,
    'content-length': bytes.byteLength,
  }
  const upload = httpRequest({ hostname, port, method: 'PUT', path, headers })
  const answered = once(upload, 'response') as Promise<[IncomingMessage]>
  upload.write(bytes.subarray(0, -HELD_BACK))
  return {
    async finish(): Promise<number | undefined> {
      upload.end(bytes.subarray(-HELD_BACK))
      const [response] = await answered
      response.resume()
      return response.statusCode
    },
  }
}
