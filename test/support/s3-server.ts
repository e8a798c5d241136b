// An S3 server on loopback for tests: path-style objects in memory, every request's AWS Signature Version 4 and payload
// hash checked as the specification says, refusals in S3's XML. `lenient` skips the payload hash, as some stores do.
import { createHash, createHmac, timingSafeEqual } from 'node:crypto'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { KEPT_CONNECTIONS } from './kept-connections.ts'
import { closeServer, listenOnLoopback } from './loopback.ts'

export const S3_KEYS = { S3_ACCESS_KEY_ID: 'AKIDTEST', S3_SECRET_ACCESS_KEY: 'the secret of the store' }
const AUTHORIZATION =
  /^AWS4-HMAC-SHA256 Credential=(?<id>[^/]+)\/(?<scope>(?<date>\d{8})\/(?<region>[^/]+)\/s3\/aws4_request), ?SignedHeaders=(?<signed>[^,]+), ?Signature=(?<signature>[0-9a-f]{64})$/

export interface S3Server {
  readonly url: string
  readonly objects: Map<string, Buffer>
  /** Bytes of bodies that have arrived, complete or not. */
  receivedBytes: number
  /** Objects that were completed from several pieces. */
  multipartUploads: number
  lenient: boolean
  /** Refuses every write. */
  full: boolean
  /**
   * Whether the connection of a request ends `unheard`, or once the store has done what it asks, `unanswered` or `halfway`;
   * `stalled`, it does not end, and nothing comes after the first half; `silent`, nothing ever comes.
   */
  lose: (method: string) => 'unheard' | 'unanswered' | 'halfway' | 'stalled' | 'silent' | undefined
  close(): Promise<void>
}

export async function startS3(): Promise<S3Server> {
  const objects = new Map<string, Buffer>()
  const pieces = new Map<string, Map<number, Buffer>>()
  const server = createServer(KEPT_CONNECTIONS, (request, response) => {
    answer(request, response).catch(() => response.destroy())
  })
  const answer = async (request: IncomingMessage, response: ServerResponse) => {
    const chunks: Buffer[] = []
    for await (const chunk of request as AsyncIterable<Buffer>) {
      chunks.push(chunk)
      s3.receivedBytes += chunk.byteLength
    }
    const lost = s3.lose(request.method ?? 'GET')
    if (lost === 'unheard') return response.destroy()
    if (lost === 'silent') return
    // Closed before anything of an answer is sent.
    if (lost === 'unanswered') response.destroy()
    const body = Buffer.concat(chunks)
    const declared = String(request.headers['x-amz-content-sha256'])
    if (!signatureMatches(request, declared)) return refuse(response, 403, 'SignatureDoesNotMatch')
    const hash = createHash('sha256').update(body).digest('hex')
    if (!s3.lenient && declared !== 'UNSIGNED-PAYLOAD' && declared !== hash) {
      return refuse(response, 400, 'XAmzContentSHA256Mismatch')
    }
    const { pathname, searchParams } = new URL(request.url ?? '/', 'http://localhost')
    const key = decodeURIComponent(pathname)
    const object = objects.get(key)
    if (request.method === 'PUT') {
      if (s3.full) return refuse(response, 507, 'InsufficientStorage')
      const piece = Number(searchParams.get('partNumber'))
      if (piece > 0) pieces.get(key)!.set(piece, body)
      else objects.set(key, body)
      return response.writeHead(200, { etag: `"${createHash('md5').update(body).digest('hex')}"` }).end()
    }
    if (request.method === 'POST' && searchParams.has('uploads')) {
      pieces.set(key, new Map())
      const xml = '<InitiateMultipartUploadResult><UploadId>1</UploadId></InitiateMultipartUploadResult>'
      return response.writeHead(200, { 'content-type': 'application/xml' }).end(xml)
    }
    if (request.method === 'POST') {
      const inOrder = [...pieces.get(key)!].sort(([x], [y]) => x - y)
      objects.set(key, Buffer.concat(inOrder.map(([, piece]) => piece)))
      s3.multipartUploads++
      const xml = '<CompleteMultipartUploadResult><ETag>"1"</ETag></CompleteMultipartUploadResult>'
      return response.writeHead(200, { 'content-type': 'application/xml' }).end(xml)
    }
    if (request.method === 'DELETE') {
      objects.delete(key)
      return response.writeHead(204).end()
    }
    if (!object) return refuse(response, 404, 'NoSuchKey')
    response.writeHead(200, { 'content-length': object.byteLength })
    if (lost === 'halfway' || lost === 'stalled') {
      return void response.write(
        object.subarray(0, object.byteLength / 2),
        () => lost === 'halfway' && response.destroy(),
      )
    }
    response.end(request.method === 'HEAD' ? undefined : object)
  }
  const url = await listenOnLoopback(server)
  const s3: S3Server = {
    url,
    objects,
    receivedBytes: 0,
    multipartUploads: 0,
    lenient: false,
    full: false,
    lose: () => undefined,
    close: () => closeServer(server),
  }
  return s3
}

function refuse(response: ServerResponse, status: number, code: string): void {
  response.writeHead(status, { 'content-type': 'application/xml' })
  response.end(`<?xml version="1.0" encoding="UTF-8"?><Error><Code>${code}</Code><Message>${code}</Message></Error>`)
}

/** AWS Signature Version 4, computed anew from what arrived. */
function signatureMatches(request: IncomingMessage, payloadHash: string): boolean {
  const parts = AUTHORIZATION.exec(request.headers.authorization ?? '')?.groups
  if (!parts || parts.id !== S3_KEYS.S3_ACCESS_KEY_ID) return false
  const url = new URL(request.url ?? '/', 'http://localhost')
  const query = [...url.searchParams]
    .map(([name, value]) => `${encodeURIComponent(name)}=${encodeURIComponent(value)}`)
    .sort()
    .join('&')
  const headers = parts.signed!.split(';').map((name) => `${name}:${String(request.headers[name] ?? '').trim()}\n`)
  const canonical = [request.method, url.pathname, query, headers.join(''), parts.signed, payloadHash].join('\n')
  const canonicalHash = createHash('sha256').update(canonical).digest('hex')
  const toSign = ['AWS4-HMAC-SHA256', request.headers['x-amz-date'], parts.scope, canonicalHash].join('\n')
  let key: Buffer | string = `AWS4${S3_KEYS.S3_SECRET_ACCESS_KEY}`
  for (const step of [parts.date!, parts.region!, 's3', 'aws4_request'])
    key = createHmac('sha256', key).update(step).digest()
  const expected = createHmac('sha256', key).update(toSign).digest()
  return timingSafeEqual(expected, Buffer.from(parts.signature!, 'hex'))
}
