// A request over HTTP whose answer comes in pieces, as every server of the benchmark is asked.
import { once } from 'node:events'
import { type IncomingMessage, request as post, type RequestOptions } from 'node:http'

export interface TimedAnswer {
  /** Milliseconds of `performance.now`, as all of these. */
  readonly sentMs: number
  /** Those that are not empty, and when the end of each came. */
  readonly lines: readonly { readonly ms: number; readonly line: string }[]
}

/**
 * The client shares the server's cores here, so it only notes when a piece came and reads it once all have.
 * @throws Error where the answer is no 200, with what it says
 */
export async function postTimed(url: string, options: RequestOptions, body: unknown): Promise<TimedAnswer> {
  const headers = { ...options.headers, 'content-type': 'application/json' }
  const sentMs = performance.now()
  const sent = post(url, { ...options, headers, method: 'POST' })
  sent.end(JSON.stringify(body))
  const [response] = (await once(sent, 'response')) as [IncomingMessage]
  const pieces: { readonly ms: number; readonly bytes: Buffer }[] = []
  response.on('data', (bytes: Buffer) => pieces.push({ ms: performance.now(), bytes }))
  await once(response, 'end')
  const lines: { ms: number; line: string }[] = []
  let rest = ''
  for (const { ms, bytes } of pieces) {
    const split = (rest + bytes.toString('latin1')).split('\n')
    rest = split.pop()!
    for (const line of split) if (line.trim() !== '') lines.push({ ms, line: Buffer.from(line, 'latin1').toString() })
  }
  if (response.statusCode === 200) return { sentMs, lines }
  throw new Error(`The server refused a request: ${[...lines.map(({ line }) => line), rest].join(' ')}`)
}
