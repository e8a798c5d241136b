// The books over real backends: whatever happens to a thousand requests, what is charged is what the backends have said.
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { BackendInfo } from '../../gpu-backend/protocol.ts'
import { BackendClient, SECRET } from '../support/backend-client.ts'
import { ADMIN_KEY, type EdgeHarness, makeDelta, startEdge, waitFor } from '../support/edge-harness.ts'
import { temporaryDir } from '../support/temporary-dir.ts'
import { type Fault, WiredBackend } from '../support/wired-backend.ts'

const REQUESTS = 1000
const STREAMS = 16
/** Every so manyth request meets a fault. */
const FAULT_EVERY = 10
const MAX_TOKENS = 6
/** On a machine that others share. */
const TIMEOUT = { timeout: 600_000 }
const TENANTS = ['books-a', 'books-b', 'books-c']
const PRICES = { prompt_price_nano: 100, cached_price_nano: 10, completion_price_nano: 1000 }
const CREDIT_NANO = 1_000_000_000
const BASE = 'polylora-base'

const root = temporaryDir()
const digests = new Map<string, string>()
const deltas = new Map<string, Uint8Array<ArrayBuffer>>()
/** What each model says in so many tokens, asked when nothing was wrong. */
const undisturbed = new Map<string, string>()
let backends: WiredBackend[]
let edge: EdgeHarness

beforeAll(async () => {
  backends = await Promise.all(
    ['one', 'two'].map((name) => {
      const options = { '--data-dir': join(root, name), '--threads': '1', '--memory': '400MB', '--max-batch': '16' }
      return WiredBackend.start(Object.entries(options).flat())
    }),
  )
  const settings = {
    POLYLORA_BACKEND_SECRET: SECRET,
    POLYLORA_ADMIN_KEY: ADMIN_KEY,
    // Nobody may be given up for lost only because this machine is busy.
    METER_LEASE_MS: '60000',
  }
  edge = await startEdge(backends.map(({ url }) => url).join(','), settings)
  const { base } = BackendInfo.parse(await (await fetch(`${backends[0]!.url}/v1/base`)).json())
  for (const [seed, tenant] of TENANTS.entries()) {
    await edge.admin('POST', '/tenants', { id: tenant, billing: 'prepaid', ...PRICES })
    await edge.admin('POST', `/tenants/${tenant}/credits`, { id: 'first', amount_nano: CREDIT_NANO })
    await edge.addTenant(tenant, `key-${tenant}`)
    const delta = makeDelta(seed + 1, base)
    deltas.set(tenant, delta)
    digests.set(tenant, await edge.publish(`key-${tenant}`, `${tenant}/bot`, delta))
    for (const model of [BASE, `${tenant}/bot`]) {
      for (let tokens = 1; tokens <= MAX_TOKENS; tokens++) {
        const { text } = await ask({ tenant, model, tokens, stream: false, seed: 0 })
        undisturbed.set(`${model} ${tokens}`, text)
      }
    }
  }
  // Each model has its own words: an answer of the base in place of an adapter's would be seen.
  expect(
    new Set([BASE, ...TENANTS.map((tenant) => `${tenant}/bot`)].map((model) => undisturbed.get(`${model} 6`))).size,
  ).toBe(4)
})

afterAll(async () => {
  await edge?.close()
  for (const backend of backends ?? []) await backend.close()
})

interface Question {
  readonly tenant: string
  readonly model: string
  readonly tokens: number
  readonly stream: boolean
  /** Reaches the wire; the answers are greedy, so it changes nothing else. */
  readonly seed: number
  readonly idempotencyKey?: string
  /** Hang up after so many pieces. */
  readonly leaveAfter?: number
}

/** Asks once. Anything but a whole answer must be an error that says so, unless this client itself hung up. */
async function ask(question: Question): Promise<{ outcome: 'complete' | 'refused' | 'left'; text: string }> {
  const { tenant, model, tokens, stream, seed, idempotencyKey, leaveAfter } = question
  const hangUp = new AbortController()
  const response = await edge.call(`key-${tenant}`, '/v1/chat/completions', {
    method: 'POST',
    signal: hangUp.signal,
    headers: idempotencyKey ? { 'idempotency-key': idempotencyKey } : {},
    body: JSON.stringify({
      model,
      stream,
      seed,
      temperature: 0,
      max_tokens: tokens,
      messages: [{ role: 'user', content: 'When are you open?' }],
    }),
  })
  if (response.status !== 200 || !response.body) {
    expectError(await response.text())
    return { outcome: 'refused', text: '' }
  }
  expect(response.headers.get('x-polylora-adapter')).toBe(model === BASE ? 'base' : digests.get(tenant))
  let sent = ''
  for await (const piece of response.body.pipeThrough(new TextDecoderStream())) {
    sent += piece
    if (leaveAfter === undefined || piecesOf(sent).length < leaveAfter) continue
    hangUp.abort()
    return { outcome: 'left', text: piecesOf(sent).join('') }
  }
  if (!stream) return { outcome: 'complete', text: JSON.parse(sent).choices[0].message.content }
  if (!sent.includes('data: [DONE]')) expectError(sent)
  return { outcome: sent.includes('data: [DONE]') ? 'complete' : 'refused', text: piecesOf(sent).join('') }
}

/** The texts of the chunks that have arrived whole. */
function piecesOf(stream: string): string[] {
  const chunks = stream
    .split('\n\n')
    .slice(0, -1)
    .filter((chunk) => chunk.startsWith('data: {'))
  return chunks.flatMap((chunk) => JSON.parse(chunk.slice('data: '.length)).choices?.[0]?.delta.content || [])
}

function expectError(text: string): void {
  expect(text).toMatch(/"error":\{"message":"[A-Z][^"]+","type":"\w+","param":(null|"\w+"),"code":"\w+"\}/)
}

/** What may happen on the wire of a request that is to be so many tokens long. */
const WIRE_FAULTS: ((number: number) => Fault)[] = [
  () => ({ unreachable: true }),
  () => ({ unavailable: true }),
  (number) => ({ cutAfter: number % 3 }),
  (number) => ({ silentAfter: 1 + (number % 2) }),
  () => ({ slowMs: 20 }),
]

const storedAt = (tenant: string) => `deltas/${digests.get(tenant)!.replace(':', '/')}`

/** No backend and no cache has the tenant's delta any more. */
async function forgetDelta(tenant: string): Promise<void> {
  const digest = digests.get(tenant)!
  await edge.dropCopy(digest)
  for (const { url } of backends) {
    // One that is down keeps it, and answers from it.
    await new BackendClient(url).fetch('DELETE', `/v1/adapters/${digest}`, undefined, { delta: digest }).catch(() => 0)
  }
}

/** What may happen around a request of `tenant`; the function that is returned puts it right. */
const SURROUNDING_FAULTS: ((tenant: string, number: number) => Promise<() => Promise<unknown>>)[] = [
  async (tenant) => {
    // One that is at rest has nothing to restart.
    await edge.evictMeter(tenant).catch(() => undefined)
    return async () => undefined
  },
  async (tenant) => {
    await edge.deltas.delete(storedAt(tenant))
    await forgetDelta(tenant)
    return () => edge.deltas.put(storedAt(tenant), deltas.get(tenant)!)
  },
  async (tenant) => {
    await edge.deltas.put(storedAt(tenant), 'garbage')
    await forgetDelta(tenant)
    return () => edge.deltas.put(storedAt(tenant), deltas.get(tenant)!)
  },
]

test(
  'the books balance to the token over 1,000 requests on real backends with every tenth a fault',
  TIMEOUT,
  async () => {
    const wireFaults = new Map<number, Fault>()
    for (const backend of backends) {
      backend.fault = ({ sampling: { seed } }) => {
        const fault = wireFaults.get(seed ?? 0) ?? {}
        // The next backend is well.
        wireFaults.delete(seed ?? 0)
        return fault
      }
    }
    const generations = () => backends.flatMap((backend) => backend.generations)
    const before = generations().length
    const answers = { complete: 0, refused: 0, left: 0 }
    let next = 1
    const stream = async () => {
      while (next <= REQUESTS) {
        const number = next++
        const tenant = TENANTS[number % TENANTS.length]!
        const model = number % 4 === 0 ? BASE : `${tenant}/bot`
        const tokens = 1 + (number % MAX_TOKENS)
        let putRight: (() => Promise<unknown>) | undefined
        let fault: Fault = {}
        if (number % FAULT_EVERY === 0) {
          const kind = number / FAULT_EVERY
          // A backend loses its power now and then, with all that runs on it.
          if (kind % 25 === 0) await backends[(kind / 25) % 2]!.kill()
          else if (kind % 3 === 0) {
            putRight = await SURROUNDING_FAULTS[(kind / 3) % SURROUNDING_FAULTS.length]!(tenant, number)
          } else fault = WIRE_FAULTS[kind % WIRE_FAULTS.length]!(number)
          wireFaults.set(number, fault)
        }
        const leaveAfter = fault.silentAfter
        const question: Question = {
          ...{ tenant, model, tokens, seed: number },
          stream: number % 2 === 0,
          ...(leaveAfter === undefined ? {} : { stream: true, leaveAfter }),
          // Some are sent again with their Idempotency-Key, as a client does that has lost the answer.
          ...(number % 7 === 0 && leaveAfter === undefined ? { idempotencyKey: `order-${number}` } : {}),
        }
        const { outcome, text } = await ask(question)
        answers[outcome]++
        if (outcome === 'complete') expect(text).toBe(undisturbed.get(`${model} ${tokens}`))
        if (outcome === 'complete' && question.idempotencyKey) expect(await ask(question)).toEqual({ outcome, text })
        await putRight?.()
        if (number % (25 * FAULT_EVERY) === 0) await backends[(number / FAULT_EVERY / 25) % 2]!.restart()
        // The registry takes no records for a while: they wait in the meters.
        if (number === 300) await edge.db.exec('ALTER TABLE usage RENAME TO hidden')
        if (number === 500) await edge.db.exec('ALTER TABLE hidden RENAME TO usage')
      }
    }
    await Promise.all(Array.from({ length: STREAMS }, stream))
    expect(answers.complete).toBeGreaterThan(REQUESTS * 0.8)
    expect(answers.refused).toBeGreaterThan(0)
    expect(answers.left).toBeGreaterThan(0)

    const records = await waitFor(async () => {
      const { results } = await edge.db.prepare('SELECT * FROM usage').all<Record<string, number | string>>()
      return results.length >= generations().length && new Map(results.map((row) => [row.request_id, row]))
    })
    expect(records.size).toBe(generations().length)
    for (const { requestId, usage, done } of generations()) {
      const record = records.get(requestId)
      expect(record).toMatchObject(usage)
      expect(record?.outcome === 'complete').toBe(done)
    }
    const all = [...records.values()]
    expect(all.filter(({ outcome }) => outcome === 'complete')).toHaveLength(answers.complete + before)
    expect(all.filter(({ outcome }) => outcome === 'cut')).toHaveLength(answers.left)
    for (const tenant of TENANTS) {
      const own = all.filter((record) => record.tenant === tenant)
      let paid = 0
      for (const record of own) {
        const [prompt, cached, completion] = ['prompt_tokens', 'cached_tokens', 'completion_tokens'].map((column) =>
          Number(record[column]),
        )
        const price = record.outcome === 'failed' ? 0 : (prompt! - cached!) * 100 + cached! * 10 + completion! * 1000
        expect(record.price_nano).toBe(price)
        paid += price
      }
      const { body } = await edge.admin('GET', `/tenants/${tenant}`)
      expect(body).toMatchObject({ balance_nano: CREDIT_NANO - paid, held_nano: 0 })
    }
  },
)
