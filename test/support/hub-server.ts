// A server on loopback that speaks the part of the Hugging Face Hub's API that a download uses: the list of a revision with
// its blobs, resolve with a redirect to a second host's path for LFS files, Range, etags, and the Hub's error headers.
import { createHash } from 'node:crypto'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { closeServer, listenOnLoopback } from './loopback.ts'

export const COMMIT = 'c'.repeat(40)

export interface HubRepository {
  readonly files: Record<string, Buffer>
  /** Paths kept in LFS: their hash is a sha256, and they are served from the storage behind the Hub. */
  readonly lfs?: readonly string[]
  readonly gated?: boolean
}

/** Sent whole, cut off after so many bytes, or refused with a status. */
export type Fate = 'whole' | { readonly cutAfterBytes: number } | { readonly status: number }

export class HubServer {
  readonly repositories: Record<string, HubRepository> = {}
  /** Path and range of every request, in order: `/path bytes=5-`. */
  readonly seen: string[] = []
  /** The Authorization header of each. */
  readonly tokens: (string | undefined)[] = []
  /** Authorization headers that reached the storage. */
  readonly storageTokens: string[] = []
  /** What befalls the next answers with a file's bytes, one for each entry. */
  readonly fates: Fate[] = []
  /** Answers with the whole file whatever Range asks for. */
  ignoresRange = false
  /** Served in place of the true bytes. */
  readonly corrupted = new Map<string, Buffer>()
  readonly #hub = createServer((request, response) => this.#answer(request, response))
  readonly #storage = createServer((request, response) => this.#store(request, response))

  #url = ''
  #storageUrl = ''

  async listen(): Promise<this> {
    this.#url = await listenOnLoopback(this.#hub)
    this.#storageUrl = await listenOnLoopback(this.#storage)
    return this
  }

  get url(): string {
    return this.#url
  }

  async close(): Promise<void> {
    await closeServer(this.#hub)
    await closeServer(this.#storage)
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    const path = decodeURIComponent(new URL(request.url!, this.url).pathname)
    this.seen.push(`${path}${request.headers.range ? ` ${request.headers.range}` : ''}`)
    const [, listed, revision] = /^\/api\/models\/(.+)\/revision\/(.+)$/.exec(path) ?? []
    const [, resolved, , file] = /^\/(.+)\/resolve\/([^/]+)\/(.+)$/.exec(path) ?? []
    const id = listed ?? resolved ?? ''
    const repository = this.repositories[id]
    const token = request.headers.authorization
    this.tokens.push(token)
    if (token === 'Bearer hf_unknown') {
      response.writeHead(401, { 'x-error-message': 'Invalid credentials in Authorization header' }).end()
    } else if (!repository) refuse(response, token ? 404 : 401, 'RepoNotFound')
    else if (file !== undefined) this.#resolve(id, repository, file, request, response)
    else if (revision !== 'main' && revision !== COMMIT) refuse(response, 404, 'RevisionNotFound')
    else json(response, { id, sha: COMMIT, gated: repository.gated ?? false, siblings: siblings(repository) })
  }

  #resolve(
    id: string,
    repository: HubRepository,
    file: string,
    request: IncomingMessage,
    response: ServerResponse,
  ): void {
    const token = request.headers.authorization
    const bytes = repository.files[file]
    if (!bytes) refuse(response, 404, 'EntryNotFound')
    else if (repository.gated && token !== 'Bearer hf_good') refuse(response, token ? 403 : 401, 'GatedRepo')
    else if (repository.lfs?.includes(file)) {
      const location = `${this.#storageUrl}/${id}/${file}`
      response
        .writeHead(302, {
          location,
          'x-linked-etag': `"${sha256(bytes)}"`,
          'x-linked-size': bytes.length,
          'x-repo-commit': COMMIT,
        })
        .end()
    } else this.#send(request, response, this.corrupted.get(file) ?? bytes)
  }

  #store(request: IncomingMessage, response: ServerResponse): void {
    const [, org, name, ...file] = decodeURIComponent(request.url!).split('/')
    if (request.headers.authorization) this.storageTokens.push(request.headers.authorization)
    const path = file.join('/')
    this.#send(request, response, this.corrupted.get(path) ?? this.repositories[`${org}/${name}`]!.files[path]!)
  }

  #send(request: IncomingMessage, response: ServerResponse, bytes: Buffer): void {
    const fate = this.fates.shift() ?? 'whole'
    const start = this.ignoresRange ? 0 : Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? '')?.[1] ?? 0)
    if (typeof fate === 'object' && 'status' in fate) {
      response.writeHead(fate.status).end()
      return
    }
    if (start > 0 && start >= bytes.length) {
      response.writeHead(416, { 'content-range': `bytes */${bytes.length}` }).end()
      return
    }
    const range = start > 0 ? { 'content-range': `bytes ${start}-${bytes.length - 1}/${bytes.length}` } : {}
    const body = bytes.subarray(start)
    response.writeHead(start > 0 ? 206 : 200, { 'content-length': body.length, etag: '"x"', ...range })
    if (fate === 'whole') response.end(body)
    else response.write(body.subarray(0, fate.cutAfterBytes), () => response.destroy())
  }
}

function siblings({ files, lfs = [] }: HubRepository): object[] {
  return Object.entries(files).map(([rfilename, bytes]) => {
    const blobId = createHash('sha1').update(`blob ${bytes.length}\0`).update(bytes).digest('hex')
    const kept = lfs.includes(rfilename) ? { lfs: { sha256: sha256(bytes), size: bytes.length, pointerSize: 134 } } : {}
    return { rfilename, size: bytes.length, blobId, ...kept }
  })
}

function sha256(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex')
}

function json(response: ServerResponse, value: unknown): void {
  response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(value))
}

function refuse(response: ServerResponse, status: number, code: string): void {
  response.writeHead(status, { 'x-error-code': code }).end('refused')
}
