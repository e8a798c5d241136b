import { execFile } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { gzipSync } from 'node:zlib'
import type { Browser, BrowserContextOptions, Locator, Page } from 'playwright-core'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import type { BaseModel } from '../../adapters/base-model.ts'
import { EMBEDDED_MODEL, EMBEDDED_NAME } from '../../gpu-backend/config.ts'
import { publishBrowserModel } from '../../scripts/publish-browser-model.ts'
import { hasChromium, launchChromium, openPage, screenshot, type WatchedPage } from '../support/chromium.ts'
import { peftFiles, peftTensors } from '../support/peft-files.ts'
import { type StartedProduct, startProduct } from '../support/started-product.ts'

const SITE = fileURLToPath(new URL('../../dist/console/site', import.meta.url))
const SAMPLES = fileURLToPath(new URL('../../adapters/samples', import.meta.url))
const SAMPLE_NAMES = readdirSync(SAMPLES, { withFileTypes: true }).flatMap((entry) =>
  entry.isDirectory() ? entry.name : [],
)
const PAGES = [
  { path: 'playground', title: 'Playground' },
  { path: 'adapters', title: 'Adapters' },
  { path: 'adapters/support', title: 'forno/support' },
  { path: 'adapters/+', title: 'Publish an adapter' },
  { path: 'usage', title: 'Usage' },
  { path: 'residency', title: 'Residency' },
  { path: 'browser', title: 'In this browser' },
  { path: 'backends', title: 'Backends' },
  { path: 'key', title: 'Key and limits' },
  { path: 'tenants', title: 'Tenants' },
  { path: 'tenants/forno', title: 'forno' },
  { path: 'everybody', title: 'Everybody’s usage' },
]
const MAX_PAGE_BYTES = 150_000

const folder = mkdtempSync(join(tmpdir(), 'polylora-console-'))
let product: StartedProduct

beforeAll(async () => {
  product = await startProduct(join(folder, 'state'), ['--no-demo'])
})
afterAll(async () => {
  await product?.stop()
  rmSync(folder, { recursive: true, force: true })
})

/** The page and what it names, with all that those import before they run. */
function firstLoad(): string[] {
  const html = readFileSync(join(SITE, 'index.html'), 'utf8')
  const files = new Set(['index.html'])
  const waiting = [...html.matchAll(/<(?:script|link)[^>]+(?:src|href)="\/([^"]+)"/g)].map(([, name]) => name!)
  for (let name = waiting.pop(); name !== undefined; name = waiting.pop()) {
    if (files.has(name)) continue
    files.add(name)
    if (!name.endsWith('.js')) continue
    // `import"./x.js"` and `from"./x.js"`, but not `import("./x.js")`.
    const imports = readFileSync(join(SITE, name), 'utf8').matchAll(/\b(?:import|from)\s*["']\.\/([^"']+)["']/g)
    for (const [, imported] of imports) waiting.push(join(dirname(name), imported!))
  }
  return [...files]
}

describe('the page', () => {
  test('weighs little: what its first view loads, before anybody asks for a model', () => {
    const files = firstLoad()
    expect(files.some((name) => name.endsWith('.js'))).toBe(true)
    expect(files.some((name) => name.endsWith('.css'))).toBe(true)
    expect(files.filter((name) => /ort|wasm|worker/.test(name))).toEqual([])
    const bytes = files.reduce((sum, name) => sum + gzipSync(readFileSync(join(SITE, name))).byteLength, 0)
    expect(bytes).toBeLessThan(MAX_PAGE_BYTES)
  })

  test('comes with a policy that runs nothing but its own files, and leaves the API alone', async () => {
    const response = await fetch(`${product.url}/`)
    expect(response.headers.get('content-type')).toContain('text/html')
    const policy = response.headers.get('content-security-policy') ?? ''
    expect(policy).toContain("default-src 'none'")
    expect(policy).not.toContain('unsafe-inline')
    expect(policy).not.toContain("'unsafe-eval'")
    const html = await response.text()
    const addresses = [...html.matchAll(/(?:src|href)="([^"]+)"/g)].map(([, address]) => address!)
    expect(addresses.every((address) => address.startsWith('/'))).toBe(true)
    const script = addresses.find((address) => address.endsWith('.js'))!
    expect((await fetch(product.url + script)).headers.get('cache-control')).toContain('immutable')
    expect(await (await fetch(`${product.url}/nowhere`)).json()).toMatchObject({ error: { code: 'unknown_url' } })
    expect((await fetch(`${product.url}/v1/models`)).status).toBe(401)
  })
})

describe.skipIf(!hasChromium())('in Chromium, the console', () => {
  let browser: Browser
  const opened: WatchedPage[] = []

  beforeAll(async () => {
    browser = await launchChromium()
  })
  afterAll(() => browser?.close())
  afterEach(async () => {
    const complaints = opened.flatMap(({ complaints }) => complaints)
    for (const { page } of opened.splice(0)) await page.context().close()
    expect(complaints).toEqual([])
  })

  async function open(options: BrowserContextOptions = {}): Promise<Page> {
    const watched = await openPage(browser, { baseURL: product.url, ...options })
    opened.push(watched)
    await watched.page.goto('/')
    return watched.page
  }

  async function signIn(keys: { api?: string; operator?: string }, options?: BrowserContextOptions): Promise<Page> {
    const page = await open(options)
    await page.getByLabel('API key').fill(keys.api ?? '')
    await page.getByLabel('Operator’s key').fill(keys.operator ?? '')
    await page.getByRole('button', { name: 'Sign in' }).click()
    await page.getByRole('navigation', { name: 'Pages' }).waitFor()
    return page
  }

  test('lets nobody in without a key that opens something, and says why', async () => {
    const page = await open()
    await page.getByLabel('API key').fill('wrong')
    await page.getByRole('button', { name: 'Sign in' }).click()
    expect(await page.getByRole('alert').textContent()).toContain('Incorrect API key')
    // The browser itself reports the 401 that was asked for.
    opened[0]!.complaints.length = 0
    await page.getByLabel('API key').fill('dev-demo')
    await page.keyboard.press('Enter')
    await page.getByRole('heading', { name: 'Playground' }).waitFor()
  })

  test('keeps the key in the tab: gone from other tabs, the address and lasting storage, and after signing out', async () => {
    const page = await signIn({ api: 'dev-forno' })
    await page.reload()
    await page.getByRole('heading', { name: 'Playground' }).waitFor()
    const kept = await page.evaluate<string>(
      '[location.href, document.cookie, JSON.stringify({ ...localStorage })].join()',
    )
    expect(kept).not.toContain('dev-forno')
    const other = await page.context().newPage()
    await other.goto(product.url)
    await other.getByRole('button', { name: 'Sign in' }).waitFor()
    await page.getByRole('button', { name: 'Sign out' }).click()
    await page.reload()
    await page.getByRole('button', { name: 'Sign in' }).waitFor()
  })

  test('asks the base and an adapter side by side, and says how fast, how warm and at what price', async () => {
    const page = await signIn({ api: 'dev-forno' })
    await page.getByLabel('Question').fill('What is your return policy?')
    await page.keyboard.press('Control+Enter')
    for (const model of ['polylora-base', 'forno/support']) {
      const answer = page.getByRole('article', { name: `Answer of ${model}` })
      await answer.getByText('Done', { exact: true }).waitFor()
      expect((await answer.locator('.answer-text').textContent())?.length).toBeGreaterThan(10)
      const measures = await answer.locator('.measures').innerText()
      expect(measures).toMatch(/First text\s+[\d.]+ m?s/)
      expect(measures).toMatch(/Tokens\/s\s+[\d.]+/)
      expect(measures).toMatch(/Weights\s+(Warm|Cold)/)
      expect(measures).toMatch(/Price\s+[\d.]+/)
    }
    await screenshot(page, 'playground')
  })

  test('shows the request as a curl line that is answered', async () => {
    const page = await signIn({ api: 'dev-forno' }, { permissions: ['clipboard-read', 'clipboard-write'] })
    await page.getByLabel('Question').fill("What's your name?")
    await page.getByRole('checkbox', { name: 'polylora-base' }).uncheck()
    await page.getByRole('button', { name: 'Ask' }).click()
    await page.getByText('curl', { exact: true }).click()
    await page.getByRole('button', { name: 'Copy the curl line for forno/support' }).click()
    const line = await page.evaluate<string>('navigator.clipboard.readText()')
    // What a shell would hand to curl.
    const script = `curl() { for word; do printf '%s\\n' "$word"; done; }; ${line}`
    const env = { ...process.env, POLYLORA_API_KEY: 'dev-forno' }
    const { stdout } = await promisify(execFile)('sh', ['-c', script], { env })
    const [url, , authorization, , type, , body] = stdout.split('\n')
    const headers = [authorization!, type!].map((header) => header.split(': ') as [string, string])
    const response = await fetch(url!, { method: 'POST', headers, body: body! })
    expect(await response.text()).toContain('data: [DONE]')
    expect(body).toContain("What's your name?")
  })

  /** Publishes a sample's folder as `name`, and waits for what the page says of it. */
  async function publish(page: Page, sample: string, name: string): Promise<void> {
    await page.goto('/#/adapters/+')
    await page.getByLabel('Choose a folder').setInputFiles(join(SAMPLES, sample))
    await publishChosen(page, name)
  }

  async function publishChosen(page: Page, name: string): Promise<void> {
    await page.getByLabel('Name', { exact: true }).fill(name)
    await page.getByRole('button', { name: 'Publish' }).click()
    await page.getByRole('heading', { name: `demo/${name} is served` }).waitFor()
  }

  /** What a hand does that drags a folder from the desktop. */
  async function drop(page: Page, target: Locator, folder: string): Promise<void> {
    const { x, y, width, height } = (await target.boundingBox())!
    const devtools = await page.context().newCDPSession(page)
    const data = { items: [], files: [folder], dragOperationsMask: 1 }
    for (const type of ['dragEnter', 'dragOver', 'drop'] as const) {
      await devtools.send('Input.dispatchDragEvent', { type, x: x + width / 2, y: y + height / 4, data })
    }
  }

  const shown = async (path: string, key = 'dev-demo') => {
    const response = await fetch(`${product.url}${path}`, { headers: { authorization: `Bearer ${key}` } })
    return (await response.json()) as { digest: string; versions: { digest: string }[]; canary: unknown }
  }

  test('publishes what projects saved, says what was found, and moves the name back and on', async () => {
    const page = await signIn({ api: 'dev-demo' })
    await publish(page, SAMPLE_NAMES[0]!, 'mine')
    expect(await page.getByRole('listitem').allInnerTexts()).toEqual(
      expect.arrayContaining([expect.stringMatching(/It acts: .* log probabilities move/)]),
    )
    await screenshot(page, 'published')
    const first = (await shown('/v1/adapters/demo/mine')).digest
    await publish(page, SAMPLE_NAMES[1]!, 'mine')
    const { digest: second, versions } = await shown('/v1/adapters/demo/mine')
    expect(versions.map(({ digest }) => digest).sort()).toEqual([first, second].sort())

    await page.getByRole('link', { name: 'Versions and canary' }).click()
    await page.getByRole('button', { name: /^Roll back to/ }).click()
    await page
      .getByRole('row', { name: new RegExp(first.slice(7, 17)) })
      .getByText('All requests')
      .waitFor()
    expect((await shown('/v1/adapters/demo/mine')).digest).toBe(first)

    await page.getByRole('button', { name: /as canary$/ }).click()
    const slider = page.getByRole('slider')
    await slider.fill('35')
    await page.getByRole('button', { name: 'Set share' }).click()
    await page.getByText('Canary, 35 %').waitFor()
    expect((await shown('/v1/adapters/demo/mine')).canary).toEqual({ digest: second, weight: 0.35 })
    await screenshot(page, 'adapter')
    await page.getByRole('button', { name: 'Promote' }).click()
    await page
      .getByRole('row', { name: new RegExp(second.slice(7, 17)) })
      .getByText('All requests')
      .waitFor()
  })

  test('takes a folder that is dropped', async () => {
    const page = await signIn({ api: 'dev-demo' })
    await page.goto('/#/adapters/+')
    const zone = page.getByRole('region', { name: 'Files of the adapter' })
    await zone.waitFor()
    await drop(page, zone, join(SAMPLES, SAMPLE_NAMES[3]!))
    await zone.getByRole('listitem').first().waitFor()
    await publishChosen(page, 'dropped')
    expect((await shown('/v1/adapters/demo/dropped')).versions).toHaveLength(1)
  })

  test('refuses files that are no adapter, or one without effect, in one sentence, and publishes nothing', async () => {
    const page = await signIn({ api: 'dev-demo' })
    await page.goto('/#/adapters/+')
    const refused = async (title: string, files: { name: string; bytes: Uint8Array }[]) => {
      const chosen = files.map(({ name, bytes }) => ({
        name,
        mimeType: 'application/octet-stream',
        buffer: Buffer.from(bytes),
      }))
      await page.getByLabel('Choose files').setInputFiles(chosen)
      await page.getByLabel('Name', { exact: true }).fill('nothing')
      await page.getByRole('button', { name: 'Publish' }).click()
      const alert = page.getByRole('alert').filter({ has: page.getByRole('heading', { name: title }) })
      expect(await alert.innerText()).toContain('Nothing was published')
    }
    await refused('Something is missing', [{ name: 'notes.txt', bytes: new TextEncoder().encode('hi') }])
    await screenshot(page, 'refused')
    const { base } = (await shown('/v1/base')) as unknown as { base: BaseModel }
    const tensors = peftTensors(base, ['model.layers.0.self_attn.q_proj']).map((tensor) =>
      tensor.name.includes('lora_B')
        ? { ...tensor, values: new Float32Array(tensor.shape[0]! * tensor.shape[1]!) }
        : tensor,
    )
    const files = [...peftFiles(tensors).values()]
    const sized = await Promise.all(
      files.map(async (file) => ({ name: file.name, bytes: await file.read(0, file.size) })),
    )
    await refused('It would change nothing', sized)
    await page.goto('/#/adapters')
    await page.getByRole('heading', { name: 'Adapters' }).waitFor()
    expect(await page.getByRole('link', { name: 'demo/nothing' }).count()).toBe(0)
  })

  test('deletes an adapter only after asking', async () => {
    const page = await signIn({ api: 'dev-demo' })
    await publish(page, SAMPLE_NAMES[2]!, 'brief')
    await page.goto('/#/adapters/brief')
    await page.getByRole('button', { name: 'Delete adapter' }).click()
    await page.getByRole('dialog').getByRole('button', { name: 'Cancel' }).click()
    await page.getByRole('button', { name: 'Delete adapter' }).click()
    await page.getByRole('dialog').getByRole('button', { name: 'Delete for ever' }).click()
    await page.getByRole('heading', { name: 'Adapters', exact: true }).waitFor()
    expect(await shown('/v1/adapters/demo/brief')).toMatchObject({ error: { code: 'adapter_not_found' } })
  })

  test('shows a tenant its usage, and the operator everybody’s', async () => {
    const page = await signIn({ api: 'dev-forno', operator: 'dev-admin' })
    await page.getByRole('button', { name: 'Ask' }).click()
    await page.getByText('Done', { exact: true }).nth(1).waitFor()
    await page.getByRole('link', { name: 'Usage', exact: true }).click()
    await page.getByRole('img', { name: /^Requests by day/ }).waitFor()
    await page
      .getByRole('row', { name: /^support/ })
      .first()
      .waitFor()
    await screenshot(page, 'usage')
    await page.getByRole('link', { name: 'Everybody’s usage' }).click()
    await page
      .getByRole('row', { name: /^forno/ })
      .first()
      .waitFor()
  })

  test('shows a tenant where its adapters are, and the operator where everybody’s are', async () => {
    const page = await signIn({ api: 'dev-forno', operator: 'dev-admin' })
    await page.getByRole('button', { name: 'Ask' }).click()
    await page.getByText('Done', { exact: true }).nth(1).waitFor()
    await page.getByRole('link', { name: 'Residency' }).click()
    const row = page.getByRole('row', { name: /forno\/support/ })
    expect(await row.innerText()).toMatch(/In (memory|the batch)[\s\S]*[\d.]+ [kM]B[\s\S]*(now|ago)/)
    expect(await page.getByText(/harrow/).count()).toBe(0)
    await page.getByRole('link', { name: 'Backends' }).click()
    await page.getByRole('row', { name: /harrow\/support/ }).waitFor()
    await page.getByRole('heading', { name: product.backendUrl }).waitFor()
    await screenshot(page, 'backends')
  })

  /** The backend's answer. */
  async function answerOfBackend(model: string, content: string): Promise<string> {
    const body = JSON.stringify({ model, messages: [{ role: 'user', content }], temperature: 0, max_tokens: 96 })
    const headers = { authorization: 'Bearer dev-demo', 'content-type': 'application/json' }
    const response = await fetch(`${product.url}/v1/chat/completions`, { method: 'POST', headers, body })
    const { choices } = (await response.json()) as { choices: [{ message: { content: string } }] }
    return choices[0].message.content
  }

  test('runs the model in this browser, switching adapters that the operator lets leave, with the backend’s answers', async () => {
    await publishBrowserModel(
      { url: product.url, apiKey: 'dev-admin' },
      {
        modelPath: EMBEDDED_MODEL,
        weights: 'f32',
        contextTokens: undefined,
        cacheDir: join(folder, 'browser-files'),
      },
    )
    const page = await signIn({ api: 'dev-demo', operator: 'dev-admin' })
    for (const [place, name] of ['first', 'second', 'kept'].entries()) await publish(page, SAMPLE_NAMES[place]!, name)
    await page.goto('/#/tenants/demo')
    for (const name of ['first', 'second']) {
      const box = page.getByRole('row', { name: `demo/${name}` }).getByRole('checkbox')
      await box.click()
      await page
        .getByRole('row', { name: `demo/${name}` })
        .locator('input:checked:enabled')
        .waitFor()
    }
    await screenshot(page, 'tenant-adapters')

    await page.goto('/#/browser')
    await page.getByRole('button', { name: 'Run the model here' }).click()
    await page.getByText('Runs on your CPU (WebAssembly).').waitFor()
    const question = 'When are you open on Saturday?'
    await page.getByLabel('Question').fill(question)
    const asked: string[] = []
    page.on('request', (request) => asked.push(new URL(request.url()).pathname))
    const answers = new Set<string>()
    for (const [option, model] of [
      ['', EMBEDDED_NAME],
      ['demo/first', 'demo/first'],
      ['demo/second', 'demo/second'],
    ] as const) {
      await page.getByLabel('Model').selectOption(option)
      await page.getByRole('button', { name: 'Ask here' }).click()
      const answer = page.getByRole('article', { name: 'Answer in this browser' })
      await answer.getByText('Nothing was sent.').waitFor()
      const text = (await answer.locator('.answer-text').textContent()) ?? ''
      expect(text).toBe(await answerOfBackend(model, question))
      answers.add(text)
      await screenshot(page, `browser-${option.replace('/', '-') || 'base'}`)
    }
    expect(answers.size).toBe(3)
    expect(asked.filter((path) => path.startsWith('/v1/browser') || path.includes('completions'))).toEqual([])

    await page.getByLabel('Model').selectOption('demo/kept')
    await page.getByRole('button', { name: 'Ask here' }).click()
    expect(await page.getByRole('alert').innerText()).toContain("'demo/kept' may not be downloaded")
    // The browser itself reports the 403 that was asked for.
    opened[0]!.complaints.length = 0
  })

  test('makes a tenant with a key that opens the console, changes its limits, and revokes the key', async () => {
    const page = await signIn({ operator: 'dev-admin' })
    await page.getByLabel('New tenant').fill('newcomer')
    await page.getByRole('button', { name: 'Create tenant' }).click()
    await page.getByRole('heading', { name: 'newcomer' }).waitFor()
    await page.getByRole('button', { name: 'Make key' }).click()
    const key = await page.getByRole('status').locator('code').innerText()
    expect(await shown('/v1/key', key)).toMatchObject({ tenant: 'newcomer' })
    await page.getByLabel('Requests a minute').fill('7')
    await page.getByLabel('Prompt', { exact: true }).fill('0.15')
    await page.getByRole('button', { name: 'Save' }).click()
    await page.getByLabel('Amount').fill('2.5')
    await page.getByLabel('Payment’s id').fill('invoice-1')
    await page.getByRole('button', { name: 'Add credit' }).click()
    await page.getByRole('heading', { name: 'Balance: 2.5' }).waitFor()
    expect(await shown('/v1/key', key)).toMatchObject({ requests_per_minute: 7, prompt_price_nano: 150 })
    await screenshot(page, 'tenant')
    await page.getByRole('button', { name: /^Revoke/ }).click()
    await page.getByRole('dialog').getByRole('button', { name: 'Revoke' }).click()
    await page.getByText('Revoked').waitFor()
    expect((await fetch(`${product.url}/v1/key`, { headers: { authorization: `Bearer ${key}` } })).status).toBe(401)
  })

  test.each(['light', 'dark'] as const)('fits a phone without scrolling sideways, %s', async (colorScheme) => {
    const page = await signIn(
      { api: 'dev-forno', operator: 'dev-admin' },
      { colorScheme, viewport: { width: 360, height: 740 } },
    )
    for (const { title, path } of PAGES) {
      await page.goto(`/#/${path}`)
      await page.getByRole('heading', { name: title, exact: true }).waitFor()
      await page.getByRole('status', { name: 'Loading' }).first().waitFor({ state: 'detached' })
      expect(await page.evaluate<number>('document.documentElement.scrollWidth'), title).toBeLessThanOrEqual(360)
      await screenshot(page, `phone-${colorScheme}-${path.replace('/', '-')}`)
    }
  })
})
