// A site that uses the browser module as its own: its page and the module's files (bundled as any bundler would), the edge's
// API behind it on one origin, and a line that a test can cut. Loopback only.
import { readFile } from 'node:fs/promises'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import { closeServer, listenOnLoopback } from './loopback.ts'

const REPOSITORY = fileURLToPath(new URL('../../', import.meta.url))
const MODULE = join(REPOSITORY, 'gpu-backend/browser')
const RUNTIME = join(REPOSITORY, 'node_modules/onnxruntime-web/dist')
/** All that the module needs of a page. */
const POLICY = "default-src 'self'; img-src data:; script-src 'self' 'wasm-unsafe-eval'"

const PAGE =
  '<!doctype html><title>A shop</title><link rel="icon" href="data:,"><script type="module" src="/page.js"></script>'
const PAGE_SCRIPT = "import * as module from '/module/index.js'\nglobalThis.polylora = module\n"

/** What the line does to an answer of the edge. */
export type Line = (path: string, body: Uint8Array) => { readonly body: Uint8Array; readonly cutAfter?: number }

export interface BrowserSite {
  readonly url: string
  /** Every request to the edge: its path, with its range where it had one. */
  readonly requests: string[]
  line: Line
  close(): Promise<void>
}

export const undisturbed: Line = (_path, body) => ({ body })

export async function startBrowserSite(edgeUrl: string): Promise<BrowserSite> {
  const scripts = await bundle()
  const requests: string[] = []
  const site = { line: undisturbed }
  const server = createServer((request, response) => {
    const path = request.url ?? '/'
    const answer = path.startsWith('/v1/')
      ? forward(edgeUrl, request, response, requests, site.line)
      : sendStatic(path, response, scripts)
    answer.catch(() => response.destroy())
  })
  const url = await listenOnLoopback(server)
  return Object.assign(site, { url, requests, close: () => closeServer(server) })
}

/** The module as files by name: its entry, its worker, and what both or onnxruntime-web share. */
async function bundle(): Promise<ReadonlyMap<string, Uint8Array>> {
  const { outputFiles } = await build({
    entryPoints: [join(MODULE, 'index.ts'), join(MODULE, 'worker.ts')],
    bundle: true,
    splitting: true,
    format: 'esm',
    target: 'esnext',
    outdir: '/',
    write: false,
  })
  return new Map(outputFiles.map(({ path, contents }) => [path.slice(1), contents]))
}

async function sendStatic(
  path: string,
  response: ServerResponse,
  scripts: ReadonlyMap<string, Uint8Array>,
): Promise<void> {
  const send = (type: string, body: string | Uint8Array) =>
    response.writeHead(200, { 'content-type': type, 'content-security-policy': POLICY }).end(body)
  if (path === '/') return void send('text/html', PAGE)
  if (path === '/page.js') return void send('text/javascript', PAGE_SCRIPT)
  // The bundler leaves the worker's URL as the source has it.
  const name = path.replace('/module/', '').replace(/\.ts$/, '.js')
  const script = scripts.get(name)
  if (script) return void send('text/javascript', script)
  if (/^ort-[\w.-]+\.wasm$/.test(name)) return void send('application/wasm', await readFile(join(RUNTIME, name)))
  response.writeHead(404).end()
}

async function forward(
  edgeUrl: string,
  request: IncomingMessage,
  response: ServerResponse,
  requests: string[],
  line: Line,
): Promise<void> {
  const path = request.url!
  const { range, authorization } = request.headers
  requests.push(range ? `${path} ${range}` : path)
  const headers = { ...(range ? { range } : {}), ...(authorization ? { authorization } : {}) }
  const answer = await fetch(new URL(path, edgeUrl), { headers })
  const { body, cutAfter } = line(path, new Uint8Array(await answer.arrayBuffer()))
  response.writeHead(answer.status, {
    'content-type': answer.headers.get('content-type') ?? '',
    'content-length': body.length,
  })
  if (cutAfter === undefined) return void response.end(body)
  response.write(body.subarray(0, cutAfter), () => response.destroy())
}
