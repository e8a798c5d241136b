// What was used and how long it took, as tenants and the operator are told.
import { describe, expect, test } from 'vitest'
import { USAGE_COLUMNS } from '../../functions/metering/usage-record.ts'
import { queryUsage } from '../../functions/registry/usage.ts'
import { ADMIN_KEY, waitFor } from '../support/edge-harness.ts'
import { edgeOnBackends } from '../support/edge-on-backends.ts'
import { askEdge, madeTenant } from '../support/made-tenant.ts'
import { sameDay } from '../support/same-day.ts'

const { backend, edge } = await edgeOnBackends()

const ask = (key: string, model: string) => askEdge(edge, key, model)
const tenant = (id: string) => madeTenant(edge, id)

let lastBatch = 0

/** So many records, one a millisecond. */
async function insertRecords(id: string, startMs: number, count: number): Promise<void> {
  const batch = `batch-${++lastBatch}`
  await edge.db
    .prepare(
      `WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < CAST(?4 AS INTEGER))
       INSERT INTO usage (request_id, tenant, key_id, route, base, prompt_tokens, cached_tokens, completion_tokens,
         backend, outcome, started_ms, latency_ms, price_nano)
       SELECT ?1 || '-' || i, ?2, 'k', '/', 'b', 1, 0, 1, 'x', 'complete', CAST(?3 AS INTEGER) + i, 1, 1000 FROM n`,
    )
    .bind(batch, id, startMs, count)
    .run()
}

describe('usage', () => {
  test('is summed by day and adapter for its tenant alone, as JSON, CSV and JSON lines', async () => {
    const day = await sameDay()
    const { key } = await tenant('spender')
    const { key: other } = await tenant('other')
    const digest = await edge.publish(key, 'spender/bot', 300)
    for (let i = 0; i < 3; i++) await (await ask(key, 'spender/bot')).json()
    await (await ask(key, 'tiny-base')).json()
    await (await ask(other, 'tiny-base')).json()
    const usage = async (query: string, as = key) => (await edge.call(as, `/v1/usage${query}`)).text()
    const rows = await waitFor(async () => {
      const { data } = JSON.parse(await usage('')) as { data: { requests: number }[] }
      return data.reduce((sum, row) => sum + row.requests, 0) === 4 && data
    })
    expect(rows).toEqual([
      expect.objectContaining({ day, adapter: '', requests: 1, prompt_tokens: 7, completion_tokens: 5 }),
      expect.objectContaining({
        day,
        adapter: 'bot',
        requests: 3,
        prompt_tokens: 21,
        completion_tokens: 18,
        cold_requests: 1,
      }),
    ])
    const csv = (await usage('?format=csv&group_by=adapter')).split('\r\n')
    expect(csv[0]).toBe('adapter,requests,prompt_tokens,cached_tokens,completion_tokens,cold_requests,price_nano')
    expect(csv[2]).toBe('bot,3,21,6,18,1,0')
    const lines = (await usage('?format=jsonl&group_by=request')).trim().split('\n')
    expect(lines.map((line) => JSON.parse(line).digest).sort()).toEqual([null, digest, digest, digest].sort())
    expect(await usage('?from=2001-01-01&to=2001-01-02')).toBe('{"object":"list","data":[]}')
    expect(await usage('', other)).not.toContain('bot')
    expect(await usage('?tenant=spender&group_by=tenant', other)).not.toContain('spender')
  })

  test('of everybody is the operator’s', async () => {
    const tenants = async () => {
      const { body } = await edge.admin('GET', '/usage?group_by=tenant')
      return (body.data as { tenant: string }[]).map((row) => row.tenant)
    }
    await expect.poll(tenants).toEqual(['other', 'spender'])
    const one = await edge.admin('GET', '/usage?tenant=spender&group_by=tenant')
    expect(one.body.data).toMatchObject([{ tenant: 'spender', requests: 4 }])
  })

  test('of more sums than one answer holds is refused instead of cut, and fits when it is summed up', async () => {
    const { key } = await tenant('large')
    await edge.db.prepare("UPDATE tenants SET created_ms = 0 WHERE id = 'large'").run()
    await edge.db
      .prepare(
        `WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 50001)
         INSERT INTO usage (request_id, tenant, key_id, route, digest, base, prompt_tokens, cached_tokens,
           completion_tokens, backend, outcome, started_ms, latency_ms, price_nano)
         SELECT 'large' || i, 'large', 'k', '/', 'd' || i, 'b', 1, 0, 1, 'x', 'complete', 1000 + i, 1, 1000 FROM n`,
      )
      .run()
    const all = await edge.call(key, '/v1/usage?group_by=digest')
    expect(all.status).toBe(400)
    expect(await all.json()).toMatchObject({ error: { code: 'too_many_rows', param: 'from' } })
    const sums = await edge.call(key, '/v1/usage?group_by=outcome')
    expect(await sums.json()).toMatchObject({ data: [{ requests: 50_001, price_nano: 50_001_000 }] })
  })

  test('of a day with more requests than sums fit into an answer is given request by request', async () => {
    const { key } = await tenant('exporting')
    await edge.db.prepare("UPDATE tenants SET created_ms = 0 WHERE id = 'exporting'").run()
    const day = '2026-01-05'
    await insertRecords('exporting', Date.parse(day), 60_000)
    const range = `from=${day}&to=${day}`
    const response = await edge.call(key, `/v1/usage?group_by=request&format=csv&${range}`)
    expect(response.status).toBe(200)
    const [header, ...lines] = (await response.text()).trimEnd().split('\r\n')
    expect(header).toMatch(/^request_id,tenant,/)
    expect(new Set(lines.map((line) => line.split(',')[0])).size).toBe(60_000)
    // More than a bound are refused before the first is sent.
    const scope = { tenant: 'exporting', since: undefined, hasBackends: false }
    const query = { group_by: 'request', format: 'csv', from: day } as const
    await expect(queryUsage(edge.db, scope, query, 59_999)).rejects.toMatchObject({ code: 'too_many_rows' })
    await expect(queryUsage(edge.db, scope, query, 60_000)).resolves.toBeDefined()
  })

  test('has a header as CSV where nothing was used', async () => {
    const { key } = await tenant('idle')
    const csv = async (as: string, query: string) => (await edge.call(as, `${query}&format=csv`)).text()
    const sums = 'requests,prompt_tokens,cached_tokens,completion_tokens,cold_requests,price_nano'
    expect(await csv(key, '/v1/usage?group_by=digest,day')).toBe(`digest,day,${sums}\r\n`)
    const own = USAGE_COLUMNS.filter((column) => column !== 'backend')
    expect(await csv(key, '/v1/usage?group_by=request')).toBe(`${own}\r\n`)
    expect(await csv(ADMIN_KEY, '/admin/v1/usage?tenant=idle&group_by=request')).toBe(`${USAGE_COLUMNS}\r\n`)
  })

  test('of a tenant is not that of one that had its name before, where the operator asks for it so', async () => {
    const { key } = await tenant('renewed')
    const created = Date.parse('2026-02-03T12:00:00Z')
    await edge.db.prepare("UPDATE tenants SET created_ms = ? WHERE id = 'renewed'").bind(created).run()
    await insertRecords('renewed', created - 1000, 3)
    await insertRecords('renewed', created, 2)
    await insertRecords('vanished', created, 4)
    const own = await (await edge.call(key, '/v1/usage?group_by=tenant')).json()
    expect(own).toMatchObject({ data: [{ tenant: 'renewed', requests: 2 }] })
    const asked = async (query: string) => (await edge.admin('GET', `/usage?${query}`)).body
    expect(await asked('tenant=renewed&group_by=tenant&since=creation')).toEqual(own)
    expect(await asked('tenant=renewed&group_by=tenant')).toMatchObject({ data: [{ requests: 5 }] })
    expect(await asked('tenant=vanished&group_by=tenant')).toMatchObject({ data: [{ requests: 4 }] })
    const everybodys = async (query: string) => {
      const { data } = await asked(`from=2026-02-03&to=2026-02-03&group_by=tenant${query}`)
      return (data as { tenant: string; requests: number }[]).map((row) => [row.tenant, row.requests])
    }
    expect(await everybodys('')).toEqual([
      ['renewed', 5],
      ['vanished', 4],
    ])
    expect(await everybodys('&since=creation')).toEqual([['renewed', 2]])
    const records = (await asked('tenant=renewed&group_by=request&since=creation')).data
    expect(records).toHaveLength(2)
    const latency = await edge.admin('GET', '/usage/latency?tenant=renewed&since=creation')
    expect(latency.body.data).toMatchObject([{ requests: 2 }])
    expect((await edge.admin('GET', '/usage?tenant=renewed&since=2026-02-03')).status).toBe(400)
    expect((await edge.call(key, '/v1/usage?since=creation')).status).toBe(400)
  })

  test('says where its backends are to the operator alone', async () => {
    const { key } = await tenant('asking')
    await (
      await edge.call(key, '/v1/chat/completions', {
        method: 'POST',
        body: JSON.stringify({ model: 'tiny-base', messages: [{ role: 'user', content: 'hi' }] }),
      })
    ).text()
    await waitFor(() => edge.db.prepare("SELECT 1 FROM usage WHERE tenant = 'asking'").first())
    const own = await (await edge.call(key, '/v1/usage?group_by=request')).text()
    expect(own).toContain('asking')
    expect(own).not.toContain(backend.url)
    const { body } = await edge.admin('GET', '/usage?tenant=asking&group_by=request')
    expect(body.data).toMatchObject([{ backend: backend.url }])
  })

  test('has percentiles of complete answers by nearest rank, for its tenant alone', async () => {
    const { key } = await tenant('timed')
    await edge.db.prepare("UPDATE tenants SET created_ms = 0 WHERE id = 'timed'").run()
    const insert = edge.db.prepare(
      `INSERT INTO usage (request_id, tenant, key_id, route, adapter, base, prompt_tokens, cached_tokens,
         completion_tokens, backend, outcome, started_ms, ttft_ms, latency_ms)
       VALUES (?, 'timed', 'k', '/', ?, 'b', 1, 0, 1, 'x', ?, ?, ?, ?)`,
    )
    const [noon, nextDay] = [Date.parse('2026-01-02T12:00:00Z'), Date.parse('2026-01-03T12:00:00Z')]
    const records = [
      ...Array.from({ length: 100 }, (_, i) => insert.bind(`t${i}`, 'bot', 'complete', noon, 100 - i, 1000 - i)),
      // An embedding has no first text; what was cut off says nothing of how long an answer takes.
      insert.bind('embedded', 'bot', 'complete', noon, null, 5000),
      insert.bind('cut', 'bot', 'cut', noon, 9e6, 9e6),
      insert.bind('base', null, 'complete', nextDay, 7, 8),
    ]
    await edge.db.batch(records)
    const latency = async (query: string) => {
      const response = await edge.call(key, `/v1/usage/latency${query}`)
      return ((await response.json()) as { data: unknown[] }).data
    }
    const bot = {
      adapter: 'bot',
      requests: 101,
      ttft_ms_p50: 50,
      ttft_ms_p95: 95,
      ttft_ms_p99: 99,
      latency_ms_p99: 1000,
    }
    const bare = { adapter: '', requests: 1, ttft_ms_p50: 7, ttft_ms_p99: 7, latency_ms_p50: 8, latency_ms_p99: 8 }
    expect(await latency('?group_by=adapter')).toMatchObject([bare, bot])
    expect(await latency('')).toMatchObject([{ requests: 102, latency_ms_p50: 950 }])
    expect(await latency('?from=2026-01-03&group_by=day,adapter')).toMatchObject([{ day: '2026-01-03', ...bare }])
    const { body } = await edge.admin('GET', '/usage/latency?tenant=timed&group_by=tenant')
    expect(body.data).toMatchObject([{ tenant: 'timed', requests: 102 }])
    const { key: other } = await tenant('untimed')
    const empty = await edge.call(other, '/v1/usage/latency?group_by=adapter')
    expect(await empty.json()).toEqual({ object: 'list', data: [] })
  })

  test('refuses what it does not understand', async () => {
    const { key } = await tenant('asker')
    expect((await edge.call(key, '/v1/usage/latency?group_by=request')).status).toBe(400)
    for (const query of ['?group_by=tenant%3B--', '?from=yesterday', '?format=xml']) {
      expect((await edge.call(key, `/v1/usage${query}`)).status).toBe(400)
    }
    // A misspelt day: all that was ever used would look like the bill that was asked for.
    for (const path of ['/v1/usage', '/v1/usage/latency', '/admin/v1/usage', '/admin/v1/usage/latency']) {
      const response = await edge.call(path.startsWith('/admin') ? ADMIN_KEY : key, `${path}?form=2026-01-01`)
      expect(response.status).toBe(400)
      expect(await response.json()).toMatchObject({ error: { code: 'unknown_parameter', param: 'form' } })
    }
    await edge.addTenant('asker', 'key-without', 'inference')
    expect((await edge.call('key-without', '/v1/usage')).status).toBe(403)
  })
})
