// npx node scripts/bench/edge-overhead.ts: what the edge adds to the time to the first token.
import { randomBytes } from 'node:crypto'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { importCapabilityKey, mintCapability } from '../../gpu-backend/capability.ts'
import { CliError } from '../cli-error.ts'
import { parseFlags, wholeNumber } from '../parse-flags.ts'
import { passingFolder } from '../passing-folder.ts'
import { runScript } from '../run-script.ts'
import { HOST, launchBackend } from '../start/launch.ts'
import { devKey } from '../start/local-registry.ts'
import { startEdgeInWorkerd } from './edge-in-workerd.ts'
import { median } from './timing.ts'

const HELP = `npx node scripts/bench/edge-overhead.ts [options]

What the edge adds to the time to the first token: streams through the edge against the same streams to the backend itself,
on one machine, in turns; medians, as one line of JSON.

  --streams N        at once (default 16)
  --rounds N         (default 20)
  --threads N        of the backend (default: as many as there are cores)
  --backend-port N   (default 8798)

The backend's threads compete with workerd for the cores: with fewer threads than cores the edge has one, as it has its own
machine at Cloudflare; without --threads what the edge waits for a core is part of the figure.
`

const TENANT = 'bench'
const MESSAGES = [{ role: 'user', content: 'What is your return policy?' }]
/** Long enough that all streams of a round run at once. */
const MAX_TOKENS = 64
/** Streams begin this far apart: users do not press the key all at once. */
const STAGGER_MS = 25

const flags = parseFlags(HELP, {
  streams: wholeNumber(16),
  rounds: wholeNumber(20),
  threads: wholeNumber(),
  'backend-port': wholeNumber(8798),
})
const { streams, rounds, threads, 'backend-port': backendPort } = flags
const backendUrl = `http://${HOST}:${backendPort}`
const secret = randomBytes(32).toString('hex')
const key = await importCapabilityKey(secret)

const token = () =>
  mintCapability(key, {
    work: 'generate',
    tenant: TENANT,
    delta: null,
    request_id: crypto.randomUUID(),
    expires_ms: Date.now() + 60_000,
    limits: { max_tokens: MAX_TOKENS, max_delta_bytes: 0 },
  })

async function askBackend(): Promise<Response> {
  const body = { delta: null, messages: MESSAGES, sampling: { temperature: 0, max_tokens: MAX_TOKENS } }
  const headers = { authorization: `Bearer ${await token()}` }
  return fetch(`${backendUrl}/v1/generate`, { method: 'POST', headers, body: JSON.stringify(body) })
}

async function askEdge(url: string): Promise<Response> {
  const body = { model: 'polylora-base', messages: MESSAGES, temperature: 0, max_tokens: MAX_TOKENS, stream: true }
  const headers = { authorization: `Bearer ${devKey(TENANT)}` }
  return fetch(`${url}/v1/chat/completions`, { method: 'POST', headers, body: JSON.stringify(body) })
}

/** Milliseconds from the request to the first piece with text in it. */
async function firstTokenMs(ask: () => Promise<Response>): Promise<number> {
  const startMs = performance.now()
  const response = await ask()
  if (!response.ok || !response.body)
    throw new CliError(`${response.url} answered ${response.status}: ${await response.text()}`)
  let firstMs: number | undefined
  let text = ''
  for await (const piece of response.body.pipeThrough(new TextDecoderStream())) {
    text += piece
    if (firstMs === undefined && /"event":"text"|"content":"[^"]/.test(text)) firstMs = performance.now() - startMs
  }
  if (firstMs === undefined) throw new CliError(`${response.url} answered without a token.`)
  return firstMs
}

async function measure(edgeUrl: string): Promise<void> {
  const ask = { direct: askBackend, edge: () => askEdge(edgeUrl) }
  const times = { direct: [] as number[], edge: [] as number[] }
  for (let round = -2; round < rounds; round++) {
    const order = round % 2 === 0 ? (['direct', 'edge'] as const) : (['edge', 'direct'] as const)
    for (const path of order) {
      const taken = await Promise.all(
        Array.from({ length: streams }, async (_, index) => {
          await sleep(index * STAGGER_MS)
          return firstTokenMs(ask[path])
        }),
      )
      // The first rounds only warm up.
      if (round >= 0) times[path].push(...taken)
    }
  }
  const [direct, throughEdge] = [median(times.direct), median(times.edge)]
  const figures = { streams, rounds, threads: threads ?? 'all', direct_ttft_ms: direct, edge_ttft_ms: throughEdge }
  process.stdout.write(`${JSON.stringify({ ...figures, added_ms: throughEdge - direct })}\n`)
}

async function main(): Promise<void> {
  const { path: state, release } = passingFolder(tmpdir())
  const backendOptions = threads === undefined ? [] : ['--threads', String(threads)]
  const backend = launchBackend({ backendPort, state, secret, backendOptions })
  try {
    const edge = await startEdgeInWorkerd({ backendUrl, secret, tenants: [TENANT], outDir: join(state, 'bundle') })
    try {
      await backend.untilReady(`${backendUrl}/readyz`)
      await measure(edge.url)
    } finally {
      await edge.stop()
    }
  } finally {
    await backend.stop()
    await release()
  }
}

await runScript(main)
