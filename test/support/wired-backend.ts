// A real backend as a process of its own, behind a wire on loopback that a test breaks and listens in on. Whatever passes the
// wire is what the backend has said: whole lines, or nothing of them.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createServer, type IncomingMessage, request, type Server, type ServerResponse } from 'node:http'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { GenerateEvent, type GenerateRequest, REQUEST_ID_HEADER, type Usage } from '../../gpu-backend/protocol.ts'
import { SECRET } from './backend-client.ts'
import { KEPT_CONNECTIONS } from './kept-connections.ts'
import { closeServer, listenOnLoopback } from './loopback.ts'

const MAIN = fileURLToPath(new URL('../../gpu-backend/main.ts', import.meta.url))

/** What the wire does to a generation. Pieces are `text` events that have text in them. */
export interface Fault {
  /** The connection ends before there is an answer. */
  readonly unreachable?: true
  /** An answer that the backend gives when it drains. */
  readonly unavailable?: true
  /** The connection ends after so many pieces. */
  readonly cutAfter?: number
  /** Nothing more passes after so many pieces, until the edge hangs up. */
  readonly silentAfter?: number
  /** Milliseconds before each line. */
  readonly slowMs?: number
}

/** A generation of which the edge has heard, with what has passed of it. */
export interface WiredGeneration {
  readonly requestId: string
  usage: Usage
  /** The backend has said `done`. */
  done: boolean
}

export class WiredBackend {
  readonly generations: WiredGeneration[] = []
  /** Asked for every generation. */
  fault: (request: GenerateRequest) => Fault = () => ({})
  readonly #args: readonly string[]
  readonly #wire: Server
  #child: ChildProcess | undefined
  #port = 0
  #url = ''

  private constructor(args: readonly string[]) {
    this.#args = args
    this.#wire = createServer(KEPT_CONNECTIONS, (incoming, outgoing) => {
      this.#carry(incoming, outgoing).catch(() => outgoing.destroy())
    })
  }

  /** Starts the backend with these options, and its wire on a port that stays. */
  static async start(args: readonly string[]): Promise<WiredBackend> {
    const wired = new WiredBackend(args)
    await wired.restart()
    wired.#url = await listenOnLoopback(wired.#wire)
    return wired
  }

  get url(): string {
    return this.#url
  }

  /** As a machine that loses its power. */
  async kill(): Promise<void> {
    const child = this.#child
    if (!child) return
    this.#child = undefined
    child.kill('SIGKILL')
    await once(child, 'exit')
  }

  async restart(): Promise<void> {
    const child = spawn(process.execPath, [MAIN, '--port', '0', ...this.#args], {
      env: { PATH: process.env.PATH, POLYLORA_BACKEND_SECRET: SECRET },
      stdio: ['ignore', 'ignore', 'pipe'],
    })
    const lines = createInterface({ input: child.stderr })
    let said = ''
    this.#port = await new Promise<number>((resolve, reject) => {
      child.once('exit', () => reject(new Error(`the backend did not start: ${said}`)))
      lines.on('line', (line) => {
        said = line
        const port = /"event":"listening","url":"http:\/\/[^:]+:(\d+)"/.exec(line)?.[1]
        if (port) resolve(Number(port))
      })
    })
    this.#child = child
  }

  async close(): Promise<void> {
    await this.kill()
    await closeServer(this.#wire)
  }

  async #carry(incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> {
    const pieces: Buffer[] = []
    for await (const piece of incoming) pieces.push(piece as Buffer)
    const body = Buffer.concat(pieces)
    const isGeneration = incoming.url === '/v1/generate'
    const fault = isGeneration ? this.fault(JSON.parse(body.toString())) : {}
    if (fault.unreachable) return void outgoing.destroy()
    if (fault.unavailable) {
      return void outgoing.writeHead(503).end(JSON.stringify({ error: 'unavailable', message: 'It is shutting down.' }))
    }
    const { method, url, headers } = incoming
    const sent = request({ port: this.#port, host: '127.0.0.1', method, path: url, headers })
    outgoing.once('close', () => sent.destroy())
    sent.end(body)
    const [answer] = (await once(sent, 'response')) as [IncomingMessage]
    outgoing.writeHead(answer.statusCode ?? 502, answer.headers)
    if (isGeneration && answer.statusCode === 200) {
      await this.#pass(answer, outgoing, String(headers[REQUEST_ID_HEADER]), fault)
    } else answer.pipe(outgoing)
  }

  /** Passes the lines of one generation, as far as the fault lets them, and notes them. */
  async #pass(answer: IncomingMessage, outgoing: ServerResponse, requestId: string, fault: Fault): Promise<void> {
    const generation = { requestId, usage: { prompt_tokens: 0, cached_tokens: 0, completion_tokens: 0 }, done: false }
    let passed = 0
    for await (const line of wholeLines(answer)) {
      if (fault.slowMs) await new Promise((resolve) => setTimeout(resolve, fault.slowMs))
      if (passed === fault.cutAfter) return hangUp(outgoing)
      if (passed === fault.silentAfter) return void (await once(outgoing, 'close'))
      if (!line) {
        outgoing.write('\n')
        continue
      }
      const event = GenerateEvent.parse(JSON.parse(line))
      if (event.event === 'started') {
        this.generations.push(generation)
        generation.usage.prompt_tokens = event.prompt_tokens
        generation.usage.cached_tokens = event.cached_tokens ?? 0
      } else if (event.event === 'text') {
        generation.usage.completion_tokens += event.tokens
        if (event.text) passed++
      } else if (event.event === 'done') {
        generation.usage = event.usage
        generation.done = true
      }
      outgoing.write(`${line}\n`)
    }
    if (answer.complete) outgoing.end()
    else await hangUp(outgoing)
  }
}

/** The lines that arrive whole, until the answer ends or its connection does. */
async function* wholeLines(answer: IncomingMessage): AsyncGenerator<string> {
  let rest = ''
  try {
    for await (const piece of answer.setEncoding('utf8')) {
      const lines = (rest + piece).split('\n')
      rest = lines.pop() ?? ''
      yield* lines
    }
  } catch {
    // The backend is gone, or whoever reads has gone: what is not whole was never said.
  }
}

/** Ends the connection in the middle, once what was written has left this process. */
async function hangUp(outgoing: ServerResponse): Promise<void> {
  await new Promise<void>((resolve) => void outgoing.write('\n', () => setImmediate(resolve)))
  outgoing.destroy()
}
