import { once } from 'node:events'
import { request as httpRequest, type IncomingMessage } from 'node:http'
import type { EdgeHarness } from './edge-harness.ts'

/** A request to the edge of which `body` from `heldFrom` on is held back until `finish`, which gives the answer. */
export function slowRequest(
  edge: EdgeHarness,
  key: string,
  { method, path, headers = {} }: { method: string; path: string; headers?: Record<string, string> },
  body: Uint8Array,
  heldFrom: number,
) {
  const { hostname, port } = new URL(edge.url)
  const own = { authorization: `Bearer ${key}`, 'content-length': body.byteLength }
  const sending = httpRequest({ hostname, port, method, path, headers: { ...headers, ...own } })
  const answered = once(sending, 'response') as Promise<[IncomingMessage]>
  sending.write(body.subarray(0, heldFrom))
  return {
    async finish(): Promise<{ status: number | undefined; text: string }> {
      sending.end(body.subarray(heldFrom))
      const [response] = await answered
      let text = ''
      for await (const piece of response.setEncoding('utf8')) text += piece
      return { status: response.statusCode, text }
    },
  }
}
