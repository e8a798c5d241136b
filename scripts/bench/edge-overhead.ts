// What the edge adds to the time to the first token: streams through the edge against the same streams to the backend
// itself, on one machine, in turns. `node scripts/bench/edge-overhead.ts [--streams 16] [--rounds 20]`
// The edge runs under `wrangler dev` here, whose own proxies are part of what is measured.
import { randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { importCapabilityKey, mintCapability } from '../../gpu-backend/capability.ts'
import { checkState } from '../start/check-state.ts'
import { HOST, launchBackend, launchEdge } from '../start/launch.ts'
import { devKey, prepareRegistry } from '../start/local-registry.ts'

const TENANT = 'bench'
const MESSAGES = [{ role: 'user', content: 'What is your return policy?' }]
/** Long enough that all streams of a round run at once. */
const MAX_TOKENS = 64
/** Streams begin this far apart: users do not press the key all at once. */
const STAGGER_MS = 25

const { values: flags } = parseArgs({
  options: {
    streams: { type: 'string', default: '16' },
    rounds: { type: 'string', default: '20' },
    port: { type: 'string', default: '8797' },
    'backend-port': { type: 'string', default: '8798' },
  },
})
const [streams, rounds] = [Number(flags.streams), Number(flags.rounds)]
const [port, backendPort] = [Number(flags.port), Number(flags['backend-port'])]

const state = mkdtempSync(join(tmpdir(), 'polylora-overhead-'))
const secret = randomBytes(32).toString('hex')
const key = await importCapabilityKey(secret)
checkState(state)
await prepareRegistry(join(state, 'edge'), [TENANT])
const servers = [launchBackend({ port, backendPort, state, secret }), launchEdge({ port, backendPort, state, secret })]

const token = () =>
  mintCapability(key, {
    tenant: TENANT,
    delta: null,
    request_id: crypto.randomUUID(),
    expires_ms: Date.now() + 60_000,
    limits: { max_tokens: MAX_TOKENS, max_delta_bytes: 0 },
  })

const paths = {
  async direct(): Promise<Response> {
    const body = { delta: null, messages: MESSAGES, sampling: { temperature: 0, max_tokens: MAX_TOKENS } }
    const headers = { authorization: `Bearer ${await token()}` }
    return fetch(`http://${HOST}:${backendPort}/v1/generate`, { method: 'POST', headers, body: JSON.stringify(body) })
  },
  async edge(): Promise<Response> {
    const body = { model: 'polylora-base', messages: MESSAGES, temperature: 0, max_tokens: MAX_TOKENS, stream: true }
    const headers = { authorization: `Bearer ${devKey(TENANT)}` }
    return fetch(`http://${HOST}:${port}/v1/chat/completions`, { method: 'POST', headers, body: JSON.stringify(body) })
  },
}

/** Milliseconds from the request to the first piece with text in it. */
async function firstTokenMs(path: keyof typeof paths): Promise<number> {
  const startMs = performance.now()
  const response = await paths[path]()
  if (!response.ok || !response.body) throw new Error(`${path}: ${response.status} ${await response.text()}`)
  let firstMs: number | undefined
  let text = ''
  for await (const piece of response.body.pipeThrough(new TextDecoderStream())) {
    text += piece
    if (firstMs === undefined && /"event":"text"|"content":"[^"]/.test(text)) firstMs = performance.now() - startMs
  }
  if (firstMs === undefined) throw new Error(`${path}: no token came`)
  return firstMs
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b)
  return sorted[Math.floor(sorted.length / 2)]!
}

try {
  await servers[0]!.untilReady(`http://${HOST}:${backendPort}/readyz`)
  await servers[1]!.untilReady(`http://${HOST}:${port}/healthz`)
  const times = { direct: [] as number[], edge: [] as number[] }
  for (let round = -2; round < rounds; round++) {
    const order = round % 2 === 0 ? (['direct', 'edge'] as const) : (['edge', 'direct'] as const)
    for (const path of order) {
      const taken = await Promise.all(
        Array.from({ length: streams }, async (_, index) => {
          await sleep(index * STAGGER_MS)
          return firstTokenMs(path)
        }),
      )
      // The first rounds only warm up.
      if (round >= 0) times[path].push(...taken)
    }
  }
  const [direct, edge] = [median(times.direct), median(times.edge)]
  const figures = { streams, rounds, direct_ttft_ms: direct, edge_ttft_ms: edge, added_ms: edge - direct }
  process.stdout.write(`${JSON.stringify(figures)}\n`)
} finally {
  for (const server of servers.reverse()) await server.stop()
  rmSync(state, { recursive: true, force: true })
}
