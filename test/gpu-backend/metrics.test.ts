import { readFileSync } from 'node:fs'
import { beforeAll, describe, expect, test } from 'vitest'
import type { Engine } from '../../gpu-backend/engine/engine.ts'
import { Metrics } from '../../gpu-backend/metrics.ts'
import { tinyEngines } from '../support/tiny-engine.ts'

const engines = tinyEngines()
let engine: Engine

beforeAll(async () => {
  engine = await engines.start()
})

const digest = (n: number) => `sha256:${n.toString(16).padStart(12, '0')}${'0'.repeat(52)}`

describe('the metrics', () => {
  test("are in Prometheus' text format, each with its meaning", async () => {
    const metrics = new Metrics(engine)
    metrics.request('/v1/generate', 200)
    metrics.failed('unavailable')
    metrics.started(digest(1), { queueMs: 30, tier: 'disk', loadMs: 4 })
    metrics.started(digest(1), { queueMs: 1, tier: 'host', loadMs: undefined })
    metrics.started(null, { queueMs: 1, tier: null, loadMs: undefined })
    metrics.firstToken(null, 120)
    metrics.nextToken(digest(1), 15)
    metrics.tokens(digest(1), { prompt: 10, cached: 4, output: 6 })
    const text = await metrics.render()
    expect(text).toContain('polylora_requests_total{route="/v1/generate",status="200"} 1')
    expect(text).toContain('polylora_generation_errors_total{code="unavailable"} 1')
    expect(text).toContain('polylora_time_to_first_token_seconds_sum{adapter="base"} 0.12')
    expect(text).toContain('polylora_adapter_requests_total{adapter="000000000001",tier="disk"} 1')
    expect(text).toContain('polylora_adapter_requests_total{adapter="000000000001",tier="host"} 1')
    expect(text).not.toContain('polylora_adapter_requests_total{adapter="base"')
    expect(text).toContain('polylora_adapter_load_seconds_bucket{le="0.005",adapter="000000000001"} 1')
    expect(text).toContain('polylora_adapter_load_seconds_count{adapter="000000000001"} 1')
    expect(text).toContain('polylora_queue_seconds_count{adapter="000000000001"} 2')
    expect(text).toMatch(/# TYPE polylora_decode_steps_total counter\npolylora_decode_steps_total 0/)
    expect(text).toContain('polylora_inter_token_seconds_bucket{le="0.02",adapter="000000000001"} 1')
    expect(text).toContain('polylora_prompt_tokens_total{adapter="000000000001"} 10')
    expect(text).toContain('polylora_cached_prompt_tokens_total{adapter="000000000001"} 4')
    expect(text).toContain('polylora_generation_tokens_total{adapter="000000000001"} 6')
    const names = text.split('\n').filter((line) => line && !line.startsWith('#'))
    for (const line of names) expect(text).toContain(`# HELP ${line.replace(/(_bucket|_sum|_count)?[{ ].*/, '')} `)
    expect(metrics.contentType).toContain('text/plain')
  })

  test('are all in the README, and it has no others', async () => {
    const names = (text: string, pattern: RegExp) => [
      ...new Set(Array.from(text.matchAll(pattern), ([, name]) => name!)),
    ]
    const readme = readFileSync(new URL('../../gpu-backend/README.md', import.meta.url), 'utf8')
    const table = /\| name \| of what .*\n(\|.*\n)+/.exec(readme)![0]
    const given = names(await new Metrics(engine).render(), /^# TYPE (polylora_\w+)/gm)
    expect(names(table, /`(polylora_\w+)`/g).sort()).toEqual(given.sort())
  })

  test('give no more than 200 adapters a label of their own and count the rest together', async () => {
    const metrics = new Metrics(engine)
    for (let n = 0; n < 1000; n++) metrics.tokens(digest(n), { prompt: 1, output: 1 })
    const text = await metrics.render()
    const lines = text.split('\n').filter((line) => line.startsWith('polylora_generation_tokens_total{'))
    expect(lines).toHaveLength(201)
    expect(text).toContain('polylora_generation_tokens_total{adapter="other"} 800')
    expect(text).toContain(`polylora_generation_tokens_total{adapter="${digest(0).slice(7, 19)}"} 1`)
  })

  test('of two backends in one process do not mix', async () => {
    const [one, other] = [new Metrics(engine), new Metrics(engine)]
    one.request('/healthz', 200)
    expect(await other.render()).not.toContain('polylora_requests_total{')
  })
})
