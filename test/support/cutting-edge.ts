// An edge's upload routes on loopback, with a connection that a test cuts when it wants to; parts are kept in memory.
// It checks what the real edge checks of an upload: each part's digest, that no part is missing, and the digest of the whole.
import { createHash } from 'node:crypto'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { closeServer, listenOnLoopback } from './loopback.ts'

export interface CuttingEdge {
  readonly url: string
  partBytes: number
  readonly parts: Map<number, Buffer>
  /** The parts that were announced as put into the bucket. */
  readonly announced: number[]
  /** Method and path of every request, digests left out. */
  readonly calls: string[]
  published: Buffer | undefined
  /** Whether the connection of the n-th request that has a part (counted from 1) ends before its answer. */
  cutBefore: (call: number, part: number) => boolean
  /** Answers parts with 403. */
  refuse: boolean
  close(): Promise<void>
}

export async function startCuttingEdge(partBytes: number): Promise<CuttingEdge> {
  let partCalls = 0
  const answer = async (request: IncomingMessage, response: ServerResponse) => {
    const url = request.url ?? ''
    edge.calls.push(`${request.method} ${url.replace(/sha256:\w+/, '<digest>')}`)
    const json = (status: number, body: unknown) => response.writeHead(status).end(JSON.stringify(body))
    const part = Number(/\/uploads\/[^/]+\/(\d+)$/.exec(url)?.[1])
    if (part > 0 && edge.cutBefore(++partCalls, part)) {
      request.once('data', () => request.destroy())
      return
    }
    const pieces: Buffer[] = []
    for await (const piece of request) pieces.push(piece as Buffer)
    const body = Buffer.concat(pieces)
    const declared = String(request.headers['x-polylora-digest'])
    if (request.method === 'GET') {
      const parts = Array.from(edge.parts, ([number, { length }]) => ({ part: number, bytes: length }))
      json(200, { part_bytes: edge.partBytes, parts })
    } else if (request.method === 'DELETE') {
      edge.parts.clear()
      response.writeHead(204).end()
    } else if (request.method === 'PUT' && /\/uploads\/[^/]+$/.test(url)) {
      edge.announced.push(JSON.parse(String(body)).last_part)
      response.writeHead(204).end()
    } else if (part > 0) {
      if (edge.refuse) return json(403, { error: { message: 'You may not.', code: 'forbidden' } })
      if (declared !== digestOf(body)) return json(422, { error: { message: 'Another digest.' } })
      edge.parts.set(part, body)
      response.writeHead(204).end()
    } else {
      const whole = request.method === 'PUT' ? body : Buffer.concat([...edge.parts.values()])
      const wanted = request.method === 'PUT' ? declared : /sha256:\w+/.exec(url)?.[0]
      // Without parts here they are in a bucket, which this edge does not see.
      if (whole.length > 0 && digestOf(whole) !== wanted) return json(422, { error: { message: 'Another digest.' } })
      edge.published = whole
      json(201, {})
    }
    return undefined
  }
  const server = createServer((request, response) => {
    answer(request, response).catch(() => response.destroy())
  })
  const url = await listenOnLoopback(server)
  const edge: CuttingEdge = {
    url,
    partBytes,
    parts: new Map(),
    announced: [],
    calls: [],
    published: undefined,
    cutBefore: () => false,
    refuse: false,
    close: () => closeServer(server),
  }
  return edge
}

function digestOf(bytes: Buffer): string {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`
}
