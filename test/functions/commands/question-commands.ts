// Questions to the models, whole and streamed, broken off, under an Idempotency-Key, and while other commands run. They go to
// the first edge: here each has meters of its own.
import { expect } from 'vitest'
import { type KeyState, mostNano, priceOf, type TenantState } from './model.ts'
import type { Command, Run, Scene } from './run.ts'

type Kind = 'chat' | 'stream' | 'leave' | 'later' | 'embed' | 'again'

/** What the backends of the tests count and say. */
const USED = { prompt: 7, cached: 2 }
const EMBEDDED = { prompt: 6, cached: 0 }
const WORDS = ['Hello', ' from', ' the', ' model', '.']
const ROUTES = { embed: '/v1/embeddings', other: '/v1/chat/completions' }

interface Asked {
  readonly kind: Kind
  readonly tenant: TenantState
  readonly isFaulty: boolean
  readonly adapter: string | null
  readonly maxTokens: number
  readonly idempotencyKey: string | undefined
}

const ask =
  (kind: Kind): Command =>
  async (scene) => {
    const { run, step, tenant, name } = scene
    const adapter = step.pick % 5 === 4 ? null : name
    const asked: Asked = {
      ...{ kind, tenant, adapter, isFaulty: step.fault !== null, maxTokens: 2 + (step.pick % 5) },
      idempotencyKey: kind === 'again' ? `again-${step.pick % 3}` : undefined,
    }
    const key = tenant.keys[step.pick % tenant.keys.length]!
    const hangUp = new AbortController()
    const gate = Promise.withResolvers<void>()
    if (kind === 'later') for (const { behaviour } of run.world.backends) behaviour.pace = () => gate.promise
    const served = adapter === null ? ['base'] : run.servedBy(tenant, adapter, Date.now())
    const balanceNano = await balanceOf(run, tenant)
    const response = await send(scene, asked, key, hangUp.signal)
    for (const { behaviour } of run.world.backends) behaviour.pace = undefined
    if (response.status !== 200) {
      gate.resolve()
      await expectRefusal(response, asked, { key, served, balanceNano, isHeld: run.pending.length > 0 })
      return undefined
    }
    expect(key.revoked, 'a revoked key').toBe(false)
    expect(key.scopes).toContain('inference')
    if (asked.idempotencyKey && tenant.kept.has(asked.idempotencyKey)) {
      await expectReplay(response, asked)
      return undefined
    }
    expect(served, 'what answers').toContain(response.headers.get('x-polylora-adapter'))
    const read = async () => {
      gate.resolve()
      await expectAnswer(response, asked, hangUp)
    }
    if (kind === 'later' && !asked.isFaulty) run.pending.push({ finish: read })
    else await read()
    return undefined
  }

function send({ run, tenant }: Scene, asked: Asked, { secret }: KeyState, signal: AbortSignal): Promise<Response> {
  const model = asked.adapter === null ? 'tiny-base' : `${tenant.id}/${asked.adapter}`
  const isEmbedding = asked.kind === 'embed'
  const question = isEmbedding
    ? { input: ['a', 'b'] }
    : { messages: [{ role: 'user', content: 'hi' }], max_tokens: asked.maxTokens, stream: isStreamed(asked) }
  return run.world.edges[0].call(secret, isEmbedding ? ROUTES.embed : ROUTES.other, {
    ...{ method: 'POST', signal, body: JSON.stringify({ model, ...question }) },
    headers: asked.idempotencyKey ? { 'idempotency-key': asked.idempotencyKey } : {},
  })
}

const isStreamed = ({ kind }: Asked) => kind === 'stream' || kind === 'leave' || kind === 'later'

async function balanceOf({ world }: Run, { id }: TenantState): Promise<number> {
  return Number((await world.edges[0].admin('GET', `/tenants/${id}`)).body.balance_nano)
}

interface Around {
  readonly key: KeyState
  readonly served: readonly (string | null | undefined)[]
  readonly balanceNano: number
  /** What others hold of the balance is not known. */
  readonly isHeld: boolean
}

async function expectRefusal(response: Response, asked: Asked, { key, served, balanceNano, isHeld }: Around) {
  const { tenant, isFaulty, maxTokens, idempotencyKey } = asked
  const { status } = response
  const text = await response.text()
  tenant.unfinished.add(response.headers.get('x-request-id')!)
  if (key.revoked) return expect(status).toBe(401)
  if (!key.scopes.includes('inference')) return expect(status).toBe(403)
  if (status === 404) return expect(served, text).toContain(undefined)
  if (text.includes('insufficient_quota')) {
    expect(tenant.prices.billing).toBe('prepaid')
    if (!isHeld) expect(balanceNano).toBeLessThan(mostNano(tenant.prices, maxTokens))
    return
  }
  // The key came with another question before.
  if (status === 422 && idempotencyKey) return expect(tenant.kept.has(idempotencyKey)).toBe(true)
  return expect(isFaulty, text).toBe(true)
}

async function expectReplay(response: Response, { tenant, idempotencyKey }: Asked): Promise<void> {
  const { text, digest } = tenant.kept.get(idempotencyKey!)!
  expect(response.headers.get('x-polylora-replayed')).toBe('true')
  expect(response.headers.get('x-polylora-adapter')).toBe(digest)
  expect(JSON.parse(await response.text()).choices[0].message.content).toBe(text)
}

/** Reads the answer, which is whole, or breaks off with an error where there is a fault. */
async function expectAnswer(response: Response, asked: Asked, hangUp: AbortController): Promise<void> {
  const { kind, tenant, adapter, maxTokens, idempotencyKey } = asked
  const requestId = response.headers.get('x-request-id')!
  const digest = response.headers.get('x-polylora-adapter')!
  const says = [...(adapter === null ? [] : [digest]), ...WORDS].slice(0, maxTokens)
  const settle = (used: { prompt: number; cached: number }, completion: number) => {
    const priceNano = priceOf(tenant.prices, { ...used, completion })
    const whose = { requestId, adapter, digest: adapter === null ? null : digest }
    tenant.answered.push({ ...whose, ...used, completion, priceNano })
  }
  if (kind === 'embed') {
    const { data } = JSON.parse(await response.text())
    const vector = [1, adapter === null ? 0 : 1, 0.5]
    expect(data).toMatchObject([{ embedding: vector }, { embedding: vector }])
    return settle(EMBEDDED, 0)
  }
  if (!isStreamed(asked)) {
    const text = JSON.parse(await response.text()).choices[0].message.content
    expect(text).toBe(says.join(''))
    if (idempotencyKey) tenant.kept.set(idempotencyKey, { text, digest })
    return settle(USED, says.length)
  }
  let sent = ''
  for await (const piece of response.body!.pipeThrough(new TextDecoderStream())) {
    sent += piece
    if (kind !== 'leave' || !sent.includes('"content"')) continue
    hangUp.abort()
    tenant.unfinished.add(requestId)
    return
  }
  if (sent.includes('data: [DONE]')) {
    expect(textOf(sent)).toBe(says.join(''))
    return settle(USED, says.length)
  }
  expect(asked.isFaulty, sent).toBe(true)
  expect(sent).toContain('data: {"error":')
  expect(says.join('').startsWith(textOf(sent))).toBe(true)
  tenant.unfinished.add(requestId)
}

function textOf(stream: string): string {
  const chunks = stream.split('\n\n').filter((chunk) => chunk.startsWith('data: {') && chunk.includes('"delta"'))
  return chunks.map((chunk) => JSON.parse(chunk.slice('data: '.length)).choices[0]?.delta.content ?? '').join('')
}

/** What is still on its way comes. */
const finish: Command = async ({ run }) => {
  await run.pending.shift()?.finish()
  return undefined
}

const evictMeter: Command = async ({ run, tenant }) => {
  // One that is at rest has nothing to restart.
  await run.world.edges[0].evictMeter(tenant.id).catch(() => undefined)
  return undefined
}

const readUsage: Command = async ({ run, step, tenant, edge }) => {
  const format = ['json', 'jsonl', 'csv'][step.pick % 3]
  const response = await edge.call(run.keyOf(tenant).secret, `/v1/usage?group_by=request&format=${format}`)
  const text = await response.text()
  expect(response.status, text).toBe(200)
  for (const other of [...run.tenants, ...run.deleted]) {
    if (other === tenant) continue
    for (const { requestId } of other.answered) expect(text).not.toContain(requestId)
  }
  return undefined
}

export const QUESTION_COMMANDS: Readonly<Record<string, Command>> = {
  ...{ chat: ask('chat'), stream: ask('stream'), leave: ask('leave'), later: ask('later') },
  ...{ embed: ask('embed'), again: ask('again'), finish, evictMeter, readUsage },
}
