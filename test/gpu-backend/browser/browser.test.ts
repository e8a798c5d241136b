// The module as a page uses it, in a real Chromium: the same base, the same deltas and the same answers as the backend's.
import type { Browser, Page } from 'playwright-core'
import { afterAll, afterEach, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { encodeDelta } from '../../../adapters/canonical.ts'
import type { LocalModel, LocalRequest, openBrowserModel } from '../../../gpu-backend/browser/index.ts'
import type { BrowserModel, ModelFile } from '../../../gpu-backend/browser/manifest.ts'
import type { BrowserDevice } from '../../../gpu-backend/browser/messages.ts'
import { EMBEDDED_MODEL } from '../../../gpu-backend/config.ts'
import { publishBrowserModel } from '../../../scripts/publish-browser-model.ts'
import { SECRET, serve } from '../../support/backend-client.ts'
import { type BrowserSite, startBrowserSite, undisturbed } from '../../support/browser-site.ts'
import { hasChromium, launchChromium, openPage, SOFTWARE_WEBGPU } from '../../support/chromium.ts'
import { ADMIN_KEY, digestOf, type EdgeHarness, startEdge } from '../../support/edge-harness.ts'
import { expectOneSentence } from '../../support/one-sentence.ts'
import { sampleAdapters } from '../../support/sample-adapters.ts'
import { THINKING_TEMPLATE } from '../../support/thinking-template.ts'
import { tinyEngines } from '../../support/tiny-engine.ts'

declare global {
  var polylora: { openBrowserModel: typeof openBrowserModel }
  var model: LocalModel
}

const HAS_CHROMIUM = hasChromium()
/** Chromium's GPU in software takes seconds for a step, and compiles its shaders first. */
const SOFTWARE_GPU_MS = 150_000
/** It takes some five seconds. */
const LOST_GPU_MS = 100_000
const BASE = 'polylora-base'
const QUESTIONS = ['What is your return policy?', 'When are you open on Saturday?']

const engines = tinyEngines()
let edge: EdgeHarness
let site: BrowserSite
let chromium: Browser
/** `shop/<sample>`: all samples are one tenant's here, so that one key opens them. */
let adapters: string[]

beforeAll(async () => {
  if (!HAS_CHROMIUM) return
  const engine = await engines.start({ modelPath: EMBEDDED_MODEL, modelName: BASE, contextTokens: undefined })
  const { client } = await serve(engine)
  edge = await startEdge(client.url, { POLYLORA_BACKEND_SECRET: SECRET, POLYLORA_ADMIN_KEY: ADMIN_KEY })
  await edge.addTenant('shop', 'key-shop')
  await edge.addTenant('rival', 'key-rival')
  const samples = await sampleAdapters(engine.info.base)
  adapters = samples.map(({ tenant }) => `shop/${tenant}`)
  const [first] = samples
  const { delta } = first!
  const metadata = { ...delta.metadata, chatTemplate: THINKING_TEMPLATE }
  const thinking = encodeDelta({ ...delta, metadata }, engine.info.base)
  for (const { name, digest, bytes } of [
    ...samples.map((sample) => ({ ...sample, name: `shop/${sample.tenant}` })),
    { digest: digestOf(thinking), bytes: thinking, name: 'shop/thinking' },
    { ...first!, name: 'shop/kept' },
    { ...first!, name: 'rival/own' },
  ]) {
    const headers = { 'x-polylora-digest': digest }
    const key = name.startsWith('shop') ? 'key-shop' : 'key-rival'
    expect((await edge.call(key, `/v1/adapters/${name}`, { method: 'PUT', headers, body: bytes })).status).toBe(201)
    if (name === 'shop/kept') continue
    await edge.admin('PATCH', `/tenants/${name.replace('/', '/adapters/')}`, { may_leave: true })
  }
  await publishBrowserModel(
    { url: edge.url, apiKey: ADMIN_KEY },
    { modelPath: EMBEDDED_MODEL, weights: 'f32', contextTokens: undefined, cacheDir: engines.root },
  )
  site = await startBrowserSite(edge.url)
  chromium = await launchChromium(SOFTWARE_WEBGPU)
})

afterEach(() => {
  if (site) site.line = undisturbed
})

afterAll(async () => {
  await chromium?.close()
  await site?.close()
  await edge?.close()
})

/** The site, in a context that has downloaded nothing. */
async function visit(browser = chromium) {
  const watched = await openPage(browser)
  await load(watched.page)
  return watched
}

async function load(page: Page): Promise<void> {
  await page.goto(site.url)
  // From here and not by the page, whose policy forbids it to evaluate text.
  await expect.poll(() => page.evaluate(() => 'polylora' in globalThis)).toBe(true)
}

/** Opens the model on the page; returns what it said of itself, or the code and sentence of its refusal. */
function open(page: Page, device: BrowserDevice = 'wasm') {
  return page.evaluate(async (wanted) => {
    const shares: number[] = []
    try {
      globalThis.model = await polylora.openBrowserModel({
        edge: location.origin,
        apiKey: 'key-shop',
        device: wanted,
        onProgress: ({ loadedBytes, totalBytes }) => shares.push(loadedBytes / totalBytes),
      })
      return { device: globalThis.model.device, name: globalThis.model.manifest.base.name, shares }
    } catch (error) {
      const { code, message } = error as { code: string; message: string }
      return { code, message, shares }
    }
  }, device)
}

interface Answer {
  readonly text: string
  readonly reason: string
  readonly tokens: number
}

/** The page's own answer, of `adapter` or of the bare base; the code and sentence of a refusal. */
function answerLocally(
  page: Page,
  adapter: string | null,
  request: LocalRequest,
): Promise<Answer | { code: string; message: string }> {
  return page.evaluate(
    async ([name, wanted]) => {
      const answer = { text: '', reason: '', tokens: 0 }
      try {
        const loaded = name === null ? null : await globalThis.model.load(name)
        for await (const event of globalThis.model.generate({ ...wanted, adapter: loaded })) {
          if (event.event === 'text') answer.text += event.text
          if (event.event === 'finished') answer.reason = event.reason
          if (event.event === 'done') answer.tokens = event.usage.completion_tokens
        }
        return answer
      } catch (error) {
        const { code, message } = error as { code: string; message: string }
        return { code, message }
      }
    },
    [adapter, request] as const,
  )
}

/** The backend's answer to the same. */
async function answerOfEdge(adapter: string | null, { sampling, ...request }: LocalRequest): Promise<Answer> {
  const body = JSON.stringify({ ...request, model: adapter ?? BASE, ...sampling })
  const response = await edge.call('key-shop', '/v1/chat/completions', { method: 'POST', body })
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

/** The files that were asked for since `from`, without the manifest. */
const fetchedFiles = (from = 0) => site.requests.slice(from).filter((path) => path.startsWith('/v1/browser/files/'))

describe.skipIf(!HAS_CHROMIUM)('the base model in the browser', () => {
  test('answers as the backend does, with each adapter and with none, and switches without loading the base again', async () => {
    const { page, complaints } = await visit()
    const from = site.requests.length
    const opened = await open(page)
    expect(opened).toMatchObject({ device: 'wasm', name: BASE })
    expect(opened.shares.at(-1)).toBe(1)
    const files = fetchedFiles(from)
    expect(files).toEqual([...new Set(files)])
    for (const adapter of [null, ...adapters, null, adapters[0]!]) {
      for (const question of QUESTIONS) {
        const request = greedy(question, 48)
        expect(await answerLocally(page, adapter, request), `${adapter}`).toEqual(await answerOfEdge(adapter, request))
      }
    }
    expect(fetchedFiles(from)).toEqual(files)
    expect(complaints).toEqual([])
  })

  test('draws, stops, and holds to a format as the backend does', async () => {
    const { page } = await visit()
    await open(page)
    const messages = [{ role: 'user' as const, content: QUESTIONS[0]! }]
    const samplings: LocalRequest['sampling'][] = [
      { temperature: 0.9, top_p: 0.9, seed: 7, max_tokens: 24 },
      { temperature: 0.7, top_k: 5, presence_penalty: 0.5, seed: 8, max_tokens: 24 },
      { temperature: 0, stop: ['.', 'you'], max_tokens: 24 },
      { temperature: 0, response_format: { type: 'json_object' }, max_tokens: 24 },
    ]
    for (const sampling of samplings) {
      const request = { messages, sampling }
      const answer = await answerLocally(page, adapters[0]!, request)
      expect(answer, JSON.stringify(sampling)).toEqual(await answerOfEdge(adapters[0]!, request))
      // What was generated before changes nothing.
      expect(await answerLocally(page, adapters[0]!, request)).toEqual(answer)
    }
  })

  test('gives an adapter’s chat template what a request sets for it', async () => {
    const { page } = await visit()
    await open(page)
    const answers = []
    for (const enable_thinking of [true, false]) {
      const request = { ...greedy(QUESTIONS[0]!, 24), chat_template_kwargs: { enable_thinking } }
      answers.push(await answerLocally(page, 'shop/thinking', request))
      expect(answers.at(-1)).toEqual(await answerOfEdge('shop/thinking', request))
    }
    expect(answers[0]).not.toEqual(answers[1])
  })

  test('is downloaded once, and then generates with the network cut off', async () => {
    const { page } = await visit()
    await open(page)
    await answerLocally(page, adapters[0]!, greedy('Hello', 1))
    await load(page)
    const from = site.requests.length
    const { shares } = await open(page)
    const adapter = await page.evaluate((name) => globalThis.model.load(name), adapters[0]!)
    expect(shares.at(-1)).toBe(1)
    expect(site.requests.slice(from)).toEqual(['/v1/browser/model', `/v1/adapters/${adapters[0]}`])

    await page.context().setOffline(true)
    const before = site.requests.length
    const request = greedy(QUESTIONS[0]!, 24)
    const text = await page.evaluate(
      async ([loaded, wanted]) => {
        let answer = ''
        for await (const event of globalThis.model.generate({ ...wanted, adapter: loaded })) {
          if (event.event === 'text') answer += event.text
        }
        return answer
      },
      [adapter, request] as const,
    )
    expect(site.requests.length).toBe(before)
    expect(text).toBe((await answerOfEdge(adapters[0]!, request)).text)
  })

  test('opens, and loads an adapter, from what is here while the edge cannot be reached, or is failing', async () => {
    const { page } = await visit()
    await open(page)
    const request = greedy(QUESTIONS[0]!, 24)
    const answer = await answerLocally(page, adapters[0]!, request)
    await load(page)
    await page.route('**/v1/**', (route) => route.abort('connectionrefused'))
    const from = site.requests.length
    expect(await open(page)).toMatchObject({ name: BASE })
    expect(await answerLocally(page, adapters[0]!, request)).toEqual(answer)
    expect(await answerLocally(page, adapters[1]!, request)).toMatchObject({ code: 'network' })
    expect(site.requests.length).toBe(from)
    await page.route('**/v1/**', (route) => {
      const error = { message: 'No backend is ready: try again shortly.', code: 'backend_unavailable' }
      return route.fulfill({ status: 503, json: { error } })
    })
    await load(page)
    expect(await open(page)).toMatchObject({ name: BASE })
    expect(await answerLocally(page, adapters[0]!, request)).toEqual(answer)
    // A key that no longer opens anything is another matter. The newest route is asked first; without any in between, a request
    // might slip through.
    await page.route('**/v1/**', (route) => {
      const error = { message: 'Incorrect API key provided.', code: 'invalid_api_key' }
      return route.fulfill({ status: 401, json: { error } })
    })
    expect(await answerLocally(page, adapters[0]!, request)).toMatchObject({ code: 'invalid_api_key' })
    await load(page)
    expect(await open(page)).toMatchObject({ code: 'invalid_api_key' })
  })

  test('checks what it has stored, and fetches again what is no longer what its digest says', async () => {
    const { page } = await visit()
    await open(page)
    const changed = await page.evaluate(async () => {
      const cache = await caches.open('polylora base')
      const request = (await cache.keys()).find(({ url }) => url.includes('/files/'))
      const bytes = new Uint8Array(await (await cache.match(request!))!.arrayBuffer())
      bytes[bytes.length - 1]! ^= 1
      await cache.put(request!, new Response(bytes))
      return new URL(request!.url).pathname
    })
    await load(page)
    const from = site.requests.length
    expect(await open(page)).toMatchObject({ name: BASE })
    expect(fetchedFiles(from)).toEqual([changed])
    const request = greedy(QUESTIONS[0]!, 8)
    expect(await answerLocally(page, null, request)).toEqual(await answerOfEdge(null, request))
  })

  test('goes on where a broken line left off, within a file and from file to file', async () => {
    const { page } = await visit()
    const from = site.requests.length
    let broken: string | undefined
    site.line = (path, body) => {
      if (broken !== undefined || body.length < 4e6) return { body }
      broken = path
      return { body, cutAfter: 3e6 }
    }
    expect(await open(page)).toMatchObject({ name: BASE })
    const again = site.requests.slice(from).filter((request) => request.startsWith(`${broken} `))
    expect(again).toHaveLength(1)
    expect(Number(/bytes=(\d+)-$/.exec(again[0]!)?.[1])).toBeGreaterThan(0)
    const request = greedy(QUESTIONS[0]!, 8)
    expect(await answerLocally(page, null, request)).toEqual(await answerOfEdge(null, request))
  })

  test('says that the line is dead, and keeps what is complete', async () => {
    const { page } = await visit()
    const from = site.requests.length
    let dead: string | undefined
    site.line = (path, body) => {
      if (path.includes('/files/') && body.length > 4e6) dead ??= path
      return path === dead ? { body, cutAfter: 0 } : { body }
    }
    const refusal = await open(page)
    expect(refusal).toMatchObject({ code: 'network' })
    if ('message' in refusal) expectOneSentence(refusal.message)
    const complete = new Set(fetchedFiles(from).filter((path) => path !== dead))
    site.line = undisturbed
    await load(page)
    const second = site.requests.length
    expect(await open(page)).toMatchObject({ name: BASE })
    expect(fetchedFiles(second)).toContain(dead)
    expect(fetchedFiles(second).filter((path) => complete.has(path)).length).toBeLessThan(complete.size)
  })

  test('keeps the base that is here until another one is here whole, and removes it then', async () => {
    const { page } = await visit()
    await open(page)
    const request = greedy(QUESTIONS[0]!, 8)
    const answer = await answerLocally(page, null, request)
    const published = await publishedModel()
    const path = await publishTokenizer(published)
    site.line = (asked, body) => (asked === path ? { body, cutAfter: 0 } : { body })
    await load(page)
    expect(await open(page)).toMatchObject({ code: 'network' })
    site.line = undisturbed
    await page.route('**/v1/**', (route) => route.abort('connectionrefused'))
    await load(page)
    expect(await open(page)).toMatchObject({ name: BASE })
    expect(await answerLocally(page, null, request)).toEqual(answer)
    await page.unroute('**/v1/**')
    await load(page)
    const from = site.requests.length
    expect(await open(page)).toMatchObject({ name: BASE })
    expect(fetchedFiles(from)).toEqual([path])
    const kept = await storedPaths(page)
    expect(kept).toContain(path)
    expect(kept).not.toContain(`/v1/browser/files/${published.tokenizer.digest}`)
  })

  test('gives the base that is here up for another one where there is no room for both', async () => {
    const { page } = await visit()
    await open(page)
    const path = await publishTokenizer(await publishedModel())
    await limitStorage(page, 1000)
    await load(page)
    expect(await open(page)).toMatchObject({ name: BASE })
    expect(await storedPaths(page)).toContain(path)
  })

  test('opens what is here though there is no room for more, and keeps no answer of the edge that is out of date', async () => {
    const { page } = await visit()
    await open(page)
    const request = greedy(QUESTIONS[0]!, 8)
    const answer = await answerLocally(page, adapters[0]!, request)
    await limitStorage(page, -1e6)
    const published = await publishedModel()
    const changed = { ...published, context_tokens: published.context_tokens - 1 }
    expect((await edge.admin('PUT', '/browser/model', changed)).status).toBe(200)
    await load(page)
    expect(await open(page)).toMatchObject({ name: BASE })
    expect(await answerLocally(page, adapters[0]!, request)).toEqual(answer)
    const refusal = await answerLocally(page, adapters[1]!, request)
    expect(refusal).toMatchObject({ code: 'storage' })
    if ('message' in refusal) expectOneSentence(refusal.message)
    await page.route('**/v1/**', (route) => route.abort('connectionrefused'))
    expect(await answerLocally(page, adapters[0]!, request)).toEqual(answer)
    await load(page)
    expect(await open(page)).toMatchObject({ code: 'network' })
    expect((await edge.admin('PUT', '/browser/model', published)).status).toBe(200)
  })

  test.each([
    ['Cache Storage', 'caches.open'],
    ['a lock', 'navigator.locks.request = navigator.locks.query'],
  ])('says that it may keep nothing, where %s is refused', async (_, call) => {
    const { page } = await visit()
    // As browsers refuse where their user blocks the data of sites.
    const blocked = `${call} = async () => { throw new DOMException('denied', 'SecurityError') }`
    await page.route('**/module/worker.*', async (route) => {
      const script = await route.fetch()
      await route.fulfill({ response: script, body: `${blocked}\n${await script.text()}` })
    })
    const refusal = await open(page)
    expect(refusal).toMatchObject({ code: 'storage', message: expect.stringContaining('SecurityError') })
    if ('message' in refusal) expectOneSentence(refusal.message)
  })

  test('runs nothing that is not what its digest says', async () => {
    const { page } = await visit()
    site.line = (path, body) => {
      if (path.includes('/files/')) body[body.length - 1]! ^= 1
      return { body }
    }
    const refusal = await open(page)
    expect(refusal).toMatchObject({ code: 'digest_mismatch' })
    if ('message' in refusal) expectOneSentence(refusal.message)
    site.line = undisturbed
    expect(await open(page)).toMatchObject({ name: BASE })
    site.line = (path, body) => {
      if (path.endsWith('/delta')) body[body.length - 1]! ^= 1
      return { body }
    }
    expect(await answerLocally(page, adapters[0]!, greedy('Hello', 1))).toMatchObject({ code: 'digest_mismatch' })
  })

  test('gets no adapter that may not leave, nor another tenant’s', async () => {
    const { page } = await visit()
    await open(page)
    for (const [name, code] of [
      ['shop/kept', 'adapter_may_not_leave'],
      ['rival/own', 'adapter_not_found'],
      ['shop/nothing', 'adapter_not_found'],
      ['../../admin', 'adapter_not_found'],
    ] as const) {
      const refusal = await answerLocally(page, name, greedy('Hello', 1))
      expect(refusal).toMatchObject({ code })
      if ('message' in refusal) expectOneSentence(refusal.message)
    }
    expect(site.requests.filter((path) => path.endsWith('/delta') && /kept|rival/.test(path))).toHaveLength(1)
  })

  test('refuses what cannot be answered, in a sentence', async () => {
    const { page } = await visit()
    await open(page)
    const messages = [{ role: 'user' as const, content: 'Hello' }]
    for (const [request, code] of [
      [{ prompt: '' }, 'bad_request'],
      [{}, 'bad_request'],
      [{ messages, prompt: 'both' }, 'bad_request'],
      [{ messages, sampling: { temperature: 3 } }, 'bad_request'],
      [{ messages, sampling: { max_tokens: 1e6 } }, 'context_length_exceeded'],
    ] as const) {
      const refusal = await answerLocally(page, null, request)
      expect(refusal, JSON.stringify(request)).toMatchObject({ code })
      if ('message' in refusal) expectOneSentence(refusal.message)
    }
  })

  test('stops when it is told to, or nobody listens, and answers the next one rightly', async () => {
    const { page } = await visit()
    await open(page)
    const request = greedy(QUESTIONS[1]!, 40)
    const [left, aborted] = await page.evaluate(async (wanted) => {
      let left = 0
      for await (const event of globalThis.model.generate(wanted)) {
        if (event.event === 'text' && ++left === 2) break
      }
      let aborted = 0
      const stop = new AbortController()
      for await (const event of globalThis.model.generate(wanted, stop.signal)) {
        if (event.event === 'text' && ++aborted === 2) stop.abort()
      }
      return [left, aborted]
    }, request)
    expect([left, aborted]).toEqual([2, 2])
    expect(await answerLocally(page, null, request)).toEqual(await answerOfEdge(null, request))
    const closed = await page.evaluate(async (wanted) => {
      const answering = globalThis.model.generate(wanted).next()
      globalThis.model.close()
      return answering.then(
        () => 'answered',
        (error: { code: string }) => error.code,
      )
    }, request)
    expect(closed).toBe('closed')
  })

  test('gives a download up when it is told to, at once, and has it whole the next time', async () => {
    const { page } = await visit()
    await open(page)
    await page.route('**/delta', () => {})
    const asked = page.waitForRequest('**/delta')
    const loading = page.evaluateHandle((name) => {
      const stop = new AbortController()
      const loaded = globalThis.model.load(name, undefined, stop.signal)
      return { stop, ending: loaded.then(String, ({ name }: Error) => name) }
    }, adapters[0]!)
    await asked
    const cancelled = page.waitForEvent('requestfailed')
    const ending = await (await loading).evaluate(({ stop, ending }) => {
      stop.abort()
      return ending
    })
    expect(ending).toBe('AbortError')
    expect((await cancelled).url()).toContain('/delta')
    await page.unroute('**/delta')
    const request = greedy(QUESTIONS[0]!, 8)
    expect(await answerLocally(page, adapters[0]!, request)).toEqual(await answerOfEdge(adapters[0]!, request))
  })

  // On a busy machine Chromium hangs once in some thirty runs of these two, nobody knows where: they are tried again then, in
  // another one.
  test('answers the same on WebGPU, with an adapter and without', { timeout: SOFTWARE_GPU_MS, retry: 2 }, async () => {
    const browser = await launchChromium(SOFTWARE_WEBGPU)
    onTestFinished(() => browser.close())
    const { page, complaints } = await visit(browser)
    expect(await open(page, 'webgpu')).toMatchObject({ device: 'webgpu', name: BASE })
    for (const adapter of [null, adapters[0]!]) {
      const request = greedy(QUESTIONS[0]!, 3)
      expect(await answerLocally(page, adapter, request)).toEqual(await answerOfEdge(adapter, request))
    }
    expect(complaints).toEqual([])
  })

  test('says that the GPU stopped, where it does so in the middle of an answer', {
    timeout: LOST_GPU_MS,
    retry: 2,
  }, async () => {
    const doomed = await launchChromium(SOFTWARE_WEBGPU)
    try {
      const { page } = await visit(doomed)
      expect(await open(page, 'webgpu')).toMatchObject({ device: 'webgpu' })
      const answer = answerLocally(page, null, greedy(QUESTIONS[0]!, 40))
      await (await doomed.newBrowserCDPSession()).send('Browser.crashGpuProcess')
      const refusal = await answer
      expect(refusal).toMatchObject({ code: 'unsupported' })
      if ('message' in refusal) expectOneSentence(refusal.message)
    } finally {
      await doomed.close()
    }
  })

  test.each([
    ['no l0.qkv.A', 'l0.qkv.A', 'l0.qkv.Z'],
    ['no l0.qkv.B', 'l0.qkv.B', 'l0.qkv.Z'],
    ['an A of its own', 'input_ids', 'other.q.A'],
  ])('says that a base was published by another version, whose graph takes %s', async (_, name, otherName) => {
    const published = await publishedModel()
    const stored = await edge.call('key-shop', `/v1/browser/files/${published.graphs.wasm.digest}`)
    const graph = Buffer.from(await stored.arrayBuffer())
    const other = graph.toString('latin1').replaceAll(name, otherName)
    await publishGraph(published, 'wasm', Buffer.from(other, 'latin1'))
    const { page } = await visit()
    const refusal = await open(page)
    expect(refusal).toMatchObject({ code: 'unsupported', message: expect.stringContaining('published again') })
    if ('message' in refusal) expectOneSentence(refusal.message)
    await publishGraph(published, 'wasm', graph)
    expect(await open(page)).toMatchObject({ name: BASE })
  })

  test('runs as WASM where the GPU refuses the model, unless WebGPU was insisted on', async () => {
    await publishGraph(await publishedModel(), 'webgpu', Buffer.from('no graph at all'))
    const { page } = await visit()
    expect(await open(page, 'webgpu')).toMatchObject({ code: 'unsupported' })
    expect(await openOnAny(page)).toBe('wasm')
    const request = greedy(QUESTIONS[0]!, 8)
    expect(await answerLocally(page, adapters[0]!, request)).toEqual(await answerOfEdge(adapters[0]!, request))
  })
})

async function publishedModel(): Promise<BrowserModel> {
  const manifest = await edge.call(ADMIN_KEY, '/admin/v1/browser/model')
  return ((await manifest.json()) as { model: BrowserModel }).model
}

/** Publishes the model with another graph for `device`. */
async function publishGraph(model: BrowserModel, device: BrowserDevice, bytes: Buffer<ArrayBuffer>): Promise<void> {
  const changed = { ...model, graphs: { ...model.graphs, [device]: await storeFile(bytes) } }
  expect((await edge.admin('PUT', '/browser/model', changed)).status).toBe(200)
}

/** Publishes the model with a tokenizer that is another file and says the same; returns its path. */
async function publishTokenizer(model: BrowserModel): Promise<string> {
  const stored = await edge.call('key-shop', `/v1/browser/files/${model.tokenizer.digest}`)
  const tokenizer = await storeFile(Buffer.from(`${await stored.text()} `))
  expect((await edge.admin('PUT', '/browser/model', { ...model, tokenizer })).status).toBe(200)
  return `/v1/browser/files/${tokenizer.digest}`
}

async function storeFile(bytes: Buffer<ArrayBuffer>): Promise<ModelFile> {
  const file = { digest: digestOf(bytes), bytes: bytes.byteLength }
  const stored = await edge.call(ADMIN_KEY, `/admin/v1/browser/files/${file.digest}`, { method: 'PUT', body: bytes })
  expect(stored.status).toBe(201)
  return file
}

/** The paths of what the page's browser keeps of the base. */
function storedPaths(page: Page): Promise<string[]> {
  return page.evaluate(async () => {
    const requests = await (await caches.open('polylora base')).keys()
    return requests.map(({ url }) => new URL(url).pathname)
  })
}

/** The page's browser has room for so many bytes beside what is there already. */
async function limitStorage(page: Page, moreBytes: number): Promise<void> {
  const used = await page.evaluate(async () => (await navigator.storage.estimate()).usage!)
  const devtools = await page.context().newCDPSession(page)
  await devtools.send('Storage.overrideQuotaForOrigin', {
    origin: new URL(site.url).origin,
    quotaSize: used + moreBytes,
  })
}

/** Opens the model where the module thinks best, and says where that is. */
function openOnAny(page: Page): Promise<BrowserDevice> {
  return page.evaluate(async () => {
    globalThis.model = await polylora.openBrowserModel({ edge: location.origin, apiKey: 'key-shop' })
    return globalThis.model.device
  })
}
