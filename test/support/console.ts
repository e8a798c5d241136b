// The console as its tests see it: the product with Chromium in front of it, and pages that remember what went wrong in them.
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer, type IncomingMessage, request, type Server, type ServerResponse } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Browser, BrowserContextOptions, Page } from 'playwright-core'
import { afterAll, afterEach, beforeAll, expect } from 'vitest'
import { hasChromium, launchChromium, openPage, type WatchedPage } from './chromium.ts'
import { closeServer, listenOnLoopback } from './loopback.ts'
import { SAMPLES } from './samples.ts'
import { type StartedProduct, startProduct } from './started-product.ts'

export interface SignInKeys {
  readonly api?: string
  readonly operator?: string
}

/** Registers the hooks of the tests around it: the product starts before them, and no page of theirs may complain. */
export class TestedConsole {
  readonly #opened: WatchedPage[] = []
  #folder = ''
  #product: StartedProduct | undefined
  #browser: Browser | undefined
  readonly #proxies: Server[] = []

  constructor() {
    beforeAll(async () => {
      this.#folder = mkdtempSync(join(tmpdir(), 'polylora-console-'))
      this.#product = await startProduct(join(this.#folder, 'state'), ['--no-demo'])
      if (hasChromium()) this.#browser = await launchChromium()
    })
    afterEach(async () => {
      const complaints = this.#opened.flatMap(({ complaints }) => complaints)
      for (const { page } of this.#opened.splice(0)) await page.context().close()
      expect(complaints).toEqual([])
    })
    afterAll(async () => {
      await this.#browser?.close()
      await Promise.all(this.#proxies.map(closeServer))
      await this.#product?.stop()
      rmSync(this.#folder, { recursive: true, force: true })
    })
  }

  get product(): StartedProduct {
    return this.#product!
  }

  /** A page in a browser of its own storage; `browser`: another than the one without a GPU. */
  async open(options: BrowserContextOptions = {}, browser = this.#browser!): Promise<Page> {
    const watched = await openPage(browser, { baseURL: this.product.url, ...options })
    this.#opened.push(watched)
    // Every key of this product begins so.
    watched.page.on('request', (request) => {
      if (/dev-|pl-/.test(request.url())) watched.complaints.push(`a key in the URL ${request.url()}`)
    })
    await watched.page.goto('/')
    return watched.page
  }

  async signIn(keys: SignInKeys, options?: BrowserContextOptions, browser?: Browser): Promise<Page> {
    const page = await this.open(options, browser)
    await page.getByLabel('API key').fill(keys.api ?? '')
    await page.getByLabel('Operator’s key').fill(keys.operator ?? '')
    await page.getByRole('button', { name: 'Sign in' }).click()
    await page.getByRole('button', { name: 'Sign out' }).waitFor()
    return page
  }

  /** A browser to which the product is on another machine, and its pages are not secure there. It is the caller's to close. */
  async overPlainHttp(): Promise<{ browser: Browser; baseURL: string }> {
    // A product that runs on this machine takes nothing that comes by another name.
    const proxy = createServer((request, response) => passOn(this.product.url, request, response))
    this.#proxies.push(proxy)
    const { hostname, port } = new URL(await listenOnLoopback(proxy))
    const browser = await launchChromium(['--disable-gpu', `--host-resolver-rules=MAP edge.example ${hostname}`])
    return { browser, baseURL: `http://edge.example:${port}` }
  }

  /** The browser itself reports a failure that was asked for, such as `status of 401`: nothing else may be complained about. */
  expectReported(failure: string): void {
    for (const { complaints } of this.#opened) {
      const other = complaints.filter((complaint) => !complaint.includes(failure))
      expect(other).toEqual([])
      complaints.length = 0
    }
  }

  /** What the API answers. */
  async ask(path: string, key = 'dev-demo', init: RequestInit = {}): Promise<Response> {
    return fetch(this.product.url + path, { ...init, headers: { ...init.headers, authorization: `Bearer ${key}` } })
  }

  async shown<Answer>(path: string, key?: string): Promise<Answer> {
    return (await (await this.ask(path, key)).json()) as Answer
  }

  /** Publishes a sample's folder as demo/`name` on the page, and waits for what the page says of it. */
  async publish(page: Page, sample: string, name: string): Promise<void> {
    await page.goto('/#/adapters/+')
    await page.getByLabel('Choose a folder').setInputFiles(join(SAMPLES, sample))
    await this.publishChosen(page, name)
  }

  async publishChosen(page: Page, name: string): Promise<void> {
    await page.getByLabel('Name', { exact: true }).fill(name)
    await page.getByRole('button', { name: 'Publish' }).click()
    await page.getByRole('heading', { name: `demo/${name} is served` }).waitFor()
  }
}

/** As a proxy in front of the product: what it was called by stays out. */
function passOn(url: string, given: IncomingMessage, response: ServerResponse): void {
  const { host, origin, ...headers } = given.headers
  const passed = request(new URL(given.url!, url), { method: given.method, headers }, (answer) => {
    response.writeHead(answer.statusCode!, answer.headers)
    answer.pipe(response)
  })
  given.pipe(passed)
}
