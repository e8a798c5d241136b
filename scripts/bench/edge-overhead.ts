// What the edge adds to the time to the first token: streams through the edge against the same streams to the backend
// itself, on one machine, in turns. `node scripts/bench/edge-overhead.ts [--streams 16] [--rounds 20] [--threads 1]`
// The backend's threads compete with workerd for the cores: with fewer threads than cores the edge has one, as it has its own
// machine at Cloudflare; without --threads the backend takes all, and what the edge waits for a core is part of the figure.
import { randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { importCapabilityKey, mintCapability } from '../../gpu-backend/capability.ts'
import { parseFlags } from '../parse-flags.ts'
import { checkState } from '../start/check-state.ts'
import { HOST, launchBackend } from '../start/launch.ts'
import { devKey } from '../start/local-registry.ts'
import { startEdgeInWorkerd } from './edge-in-workerd.ts'

const TENANT = 'bench'
const MESSAGES = [{ role: 'user', content: 'What is your return policy?' }]
/** Long enough that all streams of a round run at once. */
const MAX_TOKENS = 64
/** Streams begin this far apart: users do not press the key all at once. */
const STAGGER_MS = 25

const flags = parseFlags({
  streams: { type: 'string', default: '16' },
  rounds: { type: 'string', default: '20' },
  threads: { type: 'string' },
  'backend-port': { type: 'string', default: '8798' },
})
const [streams, rounds] = [Number(flags.streams), Number(flags.rounds)]
const backendPort = Number(flags['backend-port'])

const state = mkdtempSync(join(tmpdir(), 'polylora-overhead-'))
const secret = randomBytes(32).toString('hex')
const key = await importCapabilityKey(secret)
checkState(state)
const backendUrl = `http://${HOST}:${backendPort}`
const backendOptions = flags.threads === undefined ? [] : ['--threads', flags.threads]
const backend = launchBackend({ port: 0, backendPort, state, secret, backendOptions })
const edge = await startEdgeInWorkerd({ backendUrl, secret, tenants: [TENANT], outDir: join(state, 'bundle') })

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
    return fetch(`${backendUrl}/v1/generate`, { method: 'POST', headers, body: JSON.stringify(body) })
  },
  async edge(): Promise<Response> {
    const body = { model: 'polylora-base', messages: MESSAGES, temperature: 0, max_tokens: MAX_TOKENS, stream: true }
    const headers = { authorization: `Bearer ${devKey(TENANT)}` }
    return fetch(`${edge.url}/v1/chat/completions`, { method: 'POST', headers, body: JSON.stringify(body) })
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
  await backend.untilReady(`${backendUrl}/readyz`)
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
  const [direct, throughEdge] = [median(times.direct), median(times.edge)]
  const figures = {
    streams,
    rounds,
    threads: flags.threads ?? 'all',
    direct_ttft_ms: direct,
    edge_ttft_ms: throughEdge,
  }
  const added = { added_ms: throughEdge - direct }
  process.stdout.write(`${JSON.stringify({ ...figures, ...added })}\n`)
} finally {
  await edge.stop()
  await backend.stop()
  rmSync(state, { recursive: true, force: true })
}
