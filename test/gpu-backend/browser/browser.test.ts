// The module as a page uses it, in a real Chromium: the same base, the same deltas and the same answers as the backend's.
import type { Browser, Page } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { LocalModel, LocalRequest, openBrowserModel } from '../../../gpu-backend/browser/index.ts'
import type { BrowserDevice } from '../../../gpu-backend/browser/messages.ts'
import { EMBEDDED_MODEL } from '../../../gpu-backend/config.ts'
import { publishBrowserModel } from '../../../scripts/publish-browser-model.ts'
import { SECRET, serve } from '../../support/backend-client.ts'
import { type BrowserSite, startBrowserSite } from '../../support/browser-site.ts'
import { hasChromium, launchChromium, openPage } from '../../support/chromium.ts'
import { ADMIN_KEY, type EdgeHarness, startEdge } from '../../support/edge-harness.ts'
import { sampleAdapters } from '../../support/sample-adapters.ts'
import { tinyEngines } from '../../support/tiny-engine.ts'

declare global {
  var polylora: { openBrowserModel: typeof openBrowserModel }
  var model: LocalModel
}

const HAS_CHROMIUM = hasChromium()
const engines = tinyEngines()
let edge: EdgeHarness
let site: BrowserSite
let chromium: Browser
let tenants: string[]

const QUESTIONS = ['What is your return policy?', 'When are you open on Saturday?']
const keyOf = (tenant: string) => `key-${tenant}`

beforeAll(async () => {
  if (!HAS_CHROMIUM) return
  const engine = await engines.start({
    modelPath: EMBEDDED_MODEL,
    modelName: 'polylora-base',
    contextTokens: undefined,
  })
  const { client } = await serve(engine)
  edge = await startEdge(client.url, { POLYLORA_BACKEND_SECRET: SECRET, POLYLORA_ADMIN_KEY: ADMIN_KEY })
  const samples = await sampleAdapters(engine.info.base)
  tenants = samples.map(({ tenant }) => tenant)
  for (const { tenant, digest, bytes } of samples) {
    await edge.addTenant(tenant, keyOf(tenant))
    const headers = { 'x-polylora-digest': digest }
    const published = await edge.call(keyOf(tenant), `/v1/adapters/${tenant}/support`, {
      method: 'PUT',
      headers,
      body: bytes,
    })
    expect(published.status).toBe(201)
    await edge.admin('PATCH', `/tenants/${tenant}/adapters/support`, { may_leave: true })
  }
  await publishBrowserModel(
    { url: edge.url, apiKey: ADMIN_KEY },
    {
      modelPath: EMBEDDED_MODEL,
      modelName: 'polylora-base',
      weights: 'f32',
      contextTokens: undefined,
      cacheDir: engines.root,
    },
  )
  site = await startBrowserSite(edge.url)
  chromium = await launchChromium()
})

afterAll(async () => {
  await chromium?.close()
  await site?.close()
  await edge?.close()
})

/** The site in a browser that has downloaded nothing. */
async function visit() {
  const watched = await openPage(chromium)
  await watched.page.goto(site.url)
  await watched.page.waitForFunction(() => 'polylora' in globalThis)
  return watched
}

/** Opens the model on the page; returns what it said of its progress. */
function open(page: Page, tenant: string, device: BrowserDevice) {
  return page.evaluate(
    async ([apiKey, wanted]) => {
      const progress: number[] = []
      const onProgress = ({ loadedBytes, totalBytes }: { loadedBytes: number; totalBytes: number }) =>
        progress.push(loadedBytes / totalBytes)
      globalThis.model = await polylora.openBrowserModel({ edge: location.origin, apiKey, device: wanted, onProgress })
      return { device: globalThis.model.device, progress }
    },
    [keyOf(tenant), device] as const,
  )
}

interface LocalAnswer {
  readonly text: string
  readonly reason: string
  readonly tokens: number
}

/** The page's own answer, of `adapter` or of the bare base. */
function answerLocally(page: Page, adapter: string | null, request: LocalRequest): Promise<LocalAnswer> {
  return page.evaluate(
    async ([name, wanted]) => {
      const loaded = name === null ? null : await globalThis.model.load(name)
      const answer = { text: '', reason: '', tokens: 0 }
      for await (const event of globalThis.model.generate({ ...wanted, adapter: loaded })) {
        if (event.event === 'text') answer.text += event.text
        if (event.event === 'finished') answer.reason = event.reason
        if (event.event === 'done') answer.tokens = event.usage.completion_tokens
      }
      return answer
    },
    [adapter, request] as const,
  )
}

/** The backend's answer to the same. */
async function answerOfEdge(tenant: string, model: string, content: string, maxTokens: number): Promise<LocalAnswer> {
  const body = { model, messages: [{ role: 'user', content }], temperature: 0, max_tokens: maxTokens }
  const response = await edge.call(keyOf(tenant), '/v1/chat/completions', {
    method: 'POST',
    body: JSON.stringify(body),
  })
  const answer = (await response.json()) as {
    choices: [{ message: { content: string }; finish_reason: string }]
    usage: { completion_tokens: number }
  }
  const [{ message, finish_reason: reason }] = answer.choices
  return { text: message.content, reason, tokens: answer.usage.completion_tokens }
}

const greedy = (content: string, maxTokens: number): LocalRequest => ({
  messages: [{ role: 'user', content }],
  sampling: { temperature: 0, max_tokens: maxTokens },
})

describe.skipIf(!HAS_CHROMIUM)('the base model in the browser', () => {
  test('answers as the backend does, the bare base and every adapter, switched without loading the base again', async () => {
    const { page, complaints } = await visit()
    const [tenant] = tenants as [string]
    await open(page, tenant, 'wasm')
    for (const question of QUESTIONS) {
      expect(await answerLocally(page, null, greedy(question, 60))).toEqual(
        await answerOfEdge(tenant, 'polylora-base', question, 60),
      )
      expect(await answerLocally(page, `${tenant}/support`, greedy(question, 60))).toEqual(
        await answerOfEdge(tenant, `${tenant}/support`, question, 60),
      )
    }
    expect(complaints).toEqual([])
  })
})
