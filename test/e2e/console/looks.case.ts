import type { Route } from 'playwright-core'
import { describe, expect, test } from 'vitest'
import { BackendInfo } from '../../../gpu-backend/protocol.ts'
import { expectAccessible } from '../../support/accessibility.ts'
import { screenshot } from '../../support/chromium.ts'
import type { TestedConsole } from '../../support/console.ts'
import { sampleAdapters } from '../../support/sample-adapters.ts'

const PAGES = [
  { path: 'playground', title: 'Playground' },
  { path: 'embeddings', title: 'Embeddings' },
  { path: 'adapters', title: 'Adapters' },
  { path: 'adapters/support', title: 'forno/support' },
  { path: 'adapters/+', title: 'Publish an adapter' },
  { path: 'usage', title: 'Usage' },
  { path: 'residency', title: 'Residency' },
  { path: 'browser', title: 'In this browser' },
  { path: 'key', title: 'Key and limits' },
  { path: 'tenants', title: 'Tenants' },
  { path: 'tenants/forno', title: 'forno' },
  { path: 'everybody', title: 'Everybody’s usage' },
  { path: 'backends', title: 'Backends' },
  { path: 'browsers', title: 'In browsers' },
]
const WIDTHS = { phone: 360, desktop: 1280 }

/** What of the page can be clicked and is no longer where it was first; `places` remembers. */
const MOVED = `[...document.querySelectorAll('a, button, input, select, textarea, summary')].flatMap((element) => {
  if (!element.checkVisibility()) return []
  const { x, y } = element.getBoundingClientRect()
  const [before, now] = [places.get(element), Math.round(x) + ', ' + Math.round(y)]
  places.set(element, before ?? now)
  const name = element.ariaLabel ?? (element.labels?.[0] ?? element).textContent
  return now === (before ?? now) ? [] : [name + ' from ' + before + ' to ' + now]
})`

export function looks(site: TestedConsole): void {
  describe.each(['light', 'dark'] as const)('%s', (colorScheme) => {
    test.each(Object.entries(WIDTHS))('is fit to see and to hear on a %s, page by page', async (device, width) => {
      const options = { colorScheme, viewport: { width, height: 800 } }
      const check = async (page: Awaited<ReturnType<TestedConsole['open']>>, name: string) => {
        const right = await page.evaluate<number>('document.documentElement.scrollWidth')
        expect(right, `${name}: scrolls sideways`).toBeLessThanOrEqual(width)
        await screenshot(page, `${device}-${colorScheme}-${name.replace('/', '-')}`)
        await expectAccessible(page, name)
      }
      await check(await site.open(options), 'sign-in')
      const page = await site.signIn({ api: 'dev-forno', operator: 'dev-admin' }, options)
      for (const { title, path } of PAGES) {
        await page.goto(`/#/${path}`)
        await page.getByRole('heading', { name: title, exact: true }).waitFor()
        await page.getByRole('status', { name: 'Loading' }).first().waitFor({ state: 'detached' })
        await check(page, path)
      }
    })
  })

  test.each([
    { device: 'desktop', order: 'in the order of their requests' },
    { device: 'phone', order: 'the other way round' },
  ] as const)(
    'moves nothing that one may be about to click, though answers come late and $order, on a $device',
    async ({ device }) => {
      const isPhone = device === 'phone'
      const viewport = { width: WIDTHS[device], height: 800 }
      const page = await site.signIn({ api: 'dev-forno', operator: 'dev-admin' }, { viewport, reducedMotion: 'reduce' })
      let held: Route[] = []
      await page.route(/\/(v1|admin)\//, (route) => void held.push(route))
      // The last one first, since signing in leads to the first.
      for (const { title, path } of PAGES.toReversed()) {
        held = []
        await page.goto(`/#/${path}`)
        await page.getByRole('heading', { name: title, exact: true }).waitFor()
        await page.evaluate('globalThis.places = new Map()')
        const expectInPlace = async () => expect(await page.evaluate<string[]>(MOVED), path).toEqual([])
        const loading = page.getByRole('status', { name: 'Loading' })
        while (held.length > 0 || (await loading.count()) > 0) {
          await expectInPlace()
          const next = isPhone ? held.pop() : held.shift()
          if (!next) continue
          await next.continue()
          await (await next.request().response())?.finished()
        }
        await expectInPlace()
      }
      await page.unrouteAll({ behavior: 'ignoreErrors' })
    },
  )

  test('holds the longest names and many models on a phone', async () => {
    const [tenant, name] = ['t'.repeat(64), 'n'.repeat(64)]
    const create = { method: 'POST', body: JSON.stringify({ id: tenant }) }
    expect((await site.ask('/admin/v1/tenants', 'dev-admin', create)).status).toBe(201)
    const scopes = { method: 'POST', body: JSON.stringify({ scopes: ['inference', 'adapters'] }) }
    const made = await site.ask(`/admin/v1/tenants/${tenant}/keys`, 'dev-admin', scopes)
    const { key } = (await made.json()) as { key: string }
    const { base } = BackendInfo.parse(await site.shown('/v1/base'))
    const [sample] = await sampleAdapters(base)
    for (const each of [name, ...Array.from({ length: 40 }, (_, i) => `customer-${i}`)]) {
      const init = { method: 'PUT', headers: { 'x-polylora-digest': sample!.digest }, body: sample!.bytes }
      expect((await site.ask(`/v1/adapters/${tenant}/${each}`, key, init)).status).toBe(201)
    }
    const page = await site.signIn({ api: key, operator: 'dev-admin' }, { viewport: { width: 360, height: 800 } })
    const { y } = (await page.getByLabel('Question').boundingBox())!
    expect(y).toBeLessThan(800)
    for (const path of ['playground', 'adapters', `adapters/${name}`, `adapters/+/${name}`, `tenants/${tenant}`]) {
      await page.goto(`/#/${path}`)
      await page.getByRole('status', { name: 'Loading' }).first().waitFor({ state: 'detached' })
      expect(await page.evaluate<number>('document.documentElement.scrollWidth'), path).toBe(360)
    }
    await page.goto(`/#/playground/${tenant}%2F${name}`)
    await page.getByRole('button', { name: /^Ask/ }).waitFor()
    expect(await page.evaluate<number>('document.documentElement.scrollWidth')).toBe(360)
  })

  test('has every page in reach on a phone, behind one button', async () => {
    const page = await site.signIn(
      { api: 'dev-forno', operator: 'dev-admin' },
      { viewport: { width: 360, height: 740 } },
    )
    const pages = page.getByRole('navigation', { name: 'Pages' })
    expect(await pages.isVisible()).toBe(false)
    await page.getByRole('button', { name: 'Playground', expanded: false }).click()
    const links = await pages.getByRole('link').all()
    expect(links).toHaveLength(PAGES.filter(({ path }) => !path.includes('/')).length)
    for (const link of links) {
      const { x, width } = (await link.boundingBox())!
      expect(x).toBeGreaterThanOrEqual(0)
      expect(x + width).toBeLessThanOrEqual(360)
    }
    await expectAccessible(page, 'the open menu')
    await screenshot(page, 'phone-menu')
    await pages.getByRole('link', { name: 'Backends' }).click()
    await page.getByRole('heading', { name: 'Backends' }).waitFor()
    await pages.waitFor({ state: 'hidden' })
    // As it does where one stays.
    await page.getByRole('button', { name: 'Backends', expanded: false }).click()
    await pages.getByRole('link', { name: 'Backends' }).click()
    await pages.waitFor({ state: 'hidden' })
  })
}
