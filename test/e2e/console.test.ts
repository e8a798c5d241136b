// The console in front of the whole product. One start serves all of it; console/ has the tests, by page.
import { readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { gzipSync } from 'node:zlib'
import { describe, expect, test } from 'vitest'
import { hasChromium } from '../support/chromium.ts'
import { TestedConsole } from '../support/console.ts'
import { adapters } from './console/adapters.case.ts'
import { inThisBrowser } from './console/browser.case.ts'
import { looks } from './console/looks.case.ts'
import { operator } from './console/operator.case.ts'
import { playground } from './console/playground.case.ts'
import { publishing } from './console/publishing.case.ts'
import { signingIn } from './console/signing-in.case.ts'
import { usage } from './console/usage.case.ts'

const SITE = fileURLToPath(new URL('../../dist/console/site', import.meta.url))
const MAX_PAGE_BYTES = 150_000

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

test('the page weighs little: what its first view loads, before anybody asks for a model', () => {
  const files = firstLoad()
  expect(files.some((name) => name.endsWith('.js'))).toBe(true)
  expect(files.some((name) => name.endsWith('.css'))).toBe(true)
  expect(files.filter((name) => /ort|wasm|worker/.test(name))).toEqual([])
  const bytes = files.reduce((sum, name) => sum + gzipSync(readFileSync(join(SITE, name))).byteLength, 0)
  expect(bytes).toBeLessThan(MAX_PAGE_BYTES)
})

describe('the console', () => {
  const site = new TestedConsole()

  test('comes with a policy that runs nothing but its own files, and leaves the API alone', async () => {
    const response = await fetch(`${site.product.url}/`)
    expect(response.headers.get('content-type')).toContain('text/html')
    const policy = response.headers.get('content-security-policy') ?? ''
    expect(policy).toContain("default-src 'none'")
    expect(policy).not.toContain('unsafe-inline')
    expect(policy).not.toContain("'unsafe-eval'")
    const html = await response.text()
    const addresses = [...html.matchAll(/(?:src|href)="([^"]+)"/g)].map(([, address]) => address!)
    expect(addresses.every((address) => address.startsWith('/'))).toBe(true)
    const script = addresses.find((address) => address.endsWith('.js'))!
    expect((await fetch(site.product.url + script)).headers.get('cache-control')).toContain('immutable')
    expect(await (await fetch(`${site.product.url}/nowhere`)).json()).toMatchObject({ error: { code: 'unknown_url' } })
    expect((await fetch(`${site.product.url}/v1/models`)).status).toBe(401)
  })

  describe.skipIf(!hasChromium())('in Chromium', () => {
    describe('signing in', () => signingIn(site))
    describe('the playground', () => playground(site))
    describe('adapters', () => adapters(site))
    describe('publishing', () => publishing(site))
    describe('usage', () => usage(site))
    describe('for the operator', () => operator(site))
    describe('its looks', () => looks(site))
    describe('in this browser', () => inThisBrowser(site))
  })
})
