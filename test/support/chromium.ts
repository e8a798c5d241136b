// A real Chromium, headless, and pages that remember what went wrong in them.
import { existsSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { type Browser, type BrowserContextOptions, chromium, type Page } from 'playwright-core'

/** Where Debian has it. */
const EXECUTABLE = process.env.CHROMIUM ?? '/usr/bin/chromium'
const FLAGS = [
  '--no-sandbox',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
]

const WITHOUT_GPU = ['--disable-gpu']
/** WebGPU without a GPU: chromium's own Vulkan driver in software, whose steps take seconds. */
export const SOFTWARE_WEBGPU = [
  '--enable-unsafe-webgpu',
  '--use-webgpu-adapter=swiftshader',
  '--enable-features=Vulkan,WebGPU',
  // Which would take a GPU this slow for one that hangs, and end it.
  '--disable-gpu-watchdog',
]

/** False, said aloud, where there is none: what needs a browser is skipped then. */
export function hasChromium(): boolean {
  const isThere = existsSync(EXECUTABLE)
  if (!isThere) {
    process.stderr.write(`\nNO BROWSER at ${EXECUTABLE}: the tests of pages are SKIPPED. Install chromium.\n`)
  }
  return isThere
}

export function launchChromium(gpu: readonly string[] = WITHOUT_GPU): Promise<Browser> {
  return chromium.launch({ executablePath: EXECUTABLE, args: [...FLAGS, ...gpu] })
}

/** Nearly what a test may take: on a busy machine half a minute, which is the default, is soon over. */
const PATIENCE_MS = 280_000

export interface WatchedPage {
  readonly page: Page
  /** Errors and warnings of the console, scripts that threw, requests that failed: empty where all is well. */
  readonly complaints: string[]
}

/** A page in a context of its own, so with a storage of its own. */
export async function openPage(browser: Browser, options: BrowserContextOptions = {}): Promise<WatchedPage> {
  const context = await browser.newContext(options)
  context.setDefaultTimeout(PATIENCE_MS)
  const page = await context.newPage()
  const complaints: string[] = []
  page.on('console', (message) => {
    if (message.type() === 'error' || message.type() === 'warning') complaints.push(message.text())
  })
  page.on('pageerror', (error) => complaints.push(String(error)))
  return { page, complaints }
}

/** Keeps a picture where POLYLORA_SCREENSHOTS names a folder. */
export async function screenshot(page: Page, name: string): Promise<void> {
  const folder = process.env.POLYLORA_SCREENSHOTS
  if (!folder) return
  mkdirSync(folder, { recursive: true })
  await page.screenshot({ path: join(folder, `${name}.png`), fullPage: true })
}
