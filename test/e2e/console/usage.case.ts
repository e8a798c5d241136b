import { readFileSync } from 'node:fs'
import type { Page } from 'playwright-core'
import { expect, test } from 'vitest'
import { expectAccessible } from '../../support/accessibility.ts'
import { screenshot } from '../../support/chromium.ts'
import type { TestedConsole } from '../../support/console.ts'
import { sameDay } from '../../support/same-day.ts'

/** The page asks every three seconds; the edge waits five for a backend. */
const SLOW_MS = 4_000

/** What plots write, which is in no element. */
const NOTE_DRAWN_TEXTS = `
  globalThis.drawnTexts = []
  const { fillText } = CanvasRenderingContext2D.prototype
  CanvasRenderingContext2D.prototype.fillText = function (...given) {
    drawnTexts.push(given[0])
    fillText.apply(this, given)
  }
`

async function askBoth(page: Page): Promise<void> {
  await page.getByRole('button', { name: 'Ask' }).click()
  await page.getByText('Done', { exact: true }).nth(1).waitFor()
}

export function usage(site: TestedConsole): void {
  test('shows a tenant its usage, and the operator everybody’s', async () => {
    const page = await site.signIn({ api: 'dev-forno', operator: 'dev-admin' })
    await askBoth(page)
    await page.getByRole('link', { name: 'Usage', exact: true }).click()
    await page.getByRole('img', { name: /^Requests by day/ }).waitFor()
    await page
      .getByRole('row', { name: /^support/ })
      .first()
      .waitFor()
    await screenshot(page, 'usage')
    await page.getByLabel('By', { exact: true }).selectOption('Version')
    const { digest } = await site.shown<{ digest: string }>('/v1/adapters/forno/support', 'dev-forno')
    await page
      .getByRole('row', { name: digest.slice(7, 17) })
      .first()
      .waitFor()

    await page.getByRole('link', { name: 'Everybody’s usage' }).click()
    const row = (name: RegExp) => page.getByRole('row', { name }).first()
    await row(/^forno /).waitFor()
    const asked = page.waitForRequest((request) => new URL(request.url()).searchParams.get('tenant') === 'harrow')
    await page.getByLabel('Whose').selectOption('harrow')
    // What is shown of a tenant is what it is billed: nothing of one that had its name before.
    expect(new URL((await asked).url()).searchParams.get('since')).toBe('creation')
    await row(/^forno /).waitFor({ state: 'hidden' })
    await row(/^harrow /).waitFor()
    await page.getByLabel('By', { exact: true }).selectOption('Adapter')
    await row(/^harrow\/support /).waitFor()
  })

  test('shows chosen days, and saves sums or every request as a file', async () => {
    const today = await sameDay()
    const page = await site.signIn({ api: 'dev-forno' })
    await askBoth(page)
    await page.getByRole('link', { name: 'Usage', exact: true }).click()
    await page.getByLabel('Days').selectOption('From … to …')
    const thisDay = new Date().toLocaleDateString('en', { month: 'short', day: 'numeric', timeZone: 'UTC' })
    expect(await page.getByLabel('From', { exact: true }).inputValue()).toBe(today)
    await page
      .getByRole('row', { name: /^support/ })
      .first()
      .waitFor()
    await page.evaluate(NOTE_DRAWN_TEXTS)
    await page.getByLabel('Plot').selectOption('Tokens')
    await page.getByRole('img', { name: /^Tokens by day/ }).waitFor()
    // From here and not by the page, whose policy forbids it to evaluate text.
    const drawnTexts = () => page.evaluate<string[]>('drawnTexts')
    await expect.poll(drawnTexts).not.toEqual([])
    const named = (await drawnTexts()).filter((text) => /^[A-Z][a-z]+ \d+$/.test(text))
    expect([...new Set(named)]).toEqual([thisDay])
    const save = async (rows: RegExp, format: string) => {
      const option = await page.getByLabel('Rows').locator('option', { hasText: rows }).getAttribute('value')
      await page.getByLabel('Rows').selectOption(option)
      await page.getByLabel('Format').selectOption(format)
      const saved = page.waitForEvent('download')
      await page.getByRole('button', { name: 'Save the file' }).click()
      const file = await saved
      expect(file.suggestedFilename()).toMatch(new RegExp(`^usage-${today}-${today}\\.`))
      return readFileSync(await file.path(), 'utf8')
        .trim()
        .split(/\r?\n/)
    }
    const [head, ...sums] = await save(/^Sums/, 'CSV')
    expect(head).toMatch(/^day,adapter,requests/)
    expect(sums.some((line) => line.startsWith(`${today},support,`))).toBe(true)
    const records = (await save(/^Every request/, 'JSON lines')).map((line) => JSON.parse(line))
    expect(records.length).toBeGreaterThan(1)
    for (const record of records) expect(record).toMatchObject({ tenant: 'forno', outcome: 'complete' })
    // More days than are shown.
    await page.getByLabel('From', { exact: true }).fill('2020-01-01')
    const since = new Date(Date.parse(today) - 365 * 86_400_000).toISOString().slice(0, 10)
    await page.getByText(`Shown and saved from ${since}`).waitFor()
    await page.getByLabel('To', { exact: true }).fill('2020-12-31')
    await page.getByText('Shown and saved from').waitFor({ state: 'detached' })
    // A day on which nothing was used.
    await page.getByLabel('From', { exact: true }).fill('2020-01-01')
    await page.getByLabel('To', { exact: true }).fill('2020-01-02')
    await page.getByText('Nothing was used in these days').waitFor()
    await expectAccessible(page, 'no usage')
  })

  test('draws each day’s sum where there are too many groups to draw them apart', async () => {
    const page = await site.signIn({ api: 'dev-forno' })
    await askBoth(page)
    const error = { message: 'There are more than 50000 rows.', type: 'x', param: 'from', code: 'too_many_rows' }
    const isByDayAndGroup = (url: URL) => url.searchParams.get('group_by') === 'day,adapter'
    await page.route(isByDayAndGroup, (route) => route.fulfill({ status: 400, json: { error } }))
    await page.getByRole('link', { name: 'Usage', exact: true }).click()
    await page.getByRole('img', { name: 'Requests by day; the table below has the sums.' }).waitFor()
    await page.getByText('there are too many groups').waitFor()
    await page
      .getByRole('row', { name: /^support/ })
      .first()
      .waitFor()
    expect(await page.getByRole('alert').count()).toBe(0)
    await expectAccessible(page, 'usage of too many groups')
    site.expectReported('status of 400')
  })

  test('shows a tenant where its adapters are, and the operator where everybody’s are', async () => {
    const page = await site.signIn({ api: 'dev-forno', operator: 'dev-admin' })
    await askBoth(page)
    await page.getByRole('link', { name: 'Residency' }).click()
    const row = page.getByRole('row', { name: /forno\/support/ })
    expect(await row.innerText()).toMatch(/In (memory|the batch)[\s\S]*[\d.]+ [kM]B[\s\S]*(now|ago)/)
    expect(await page.getByText(/harrow/).count()).toBe(0)
    await page.getByRole('link', { name: 'Backends' }).click()
    await page.getByRole('row', { name: /harrow\/support/ }).waitFor()
    await page.getByRole('heading', { name: site.product.backendUrl }).waitFor()
    await screenshot(page, 'backends')
  })

  test('shows where adapters are although a backend takes longer to say so than the page asks anew', async () => {
    const page = await site.signIn({ operator: 'dev-admin' })
    await page.route('**/residency', async (route) => {
      await new Promise((resolve) => setTimeout(resolve, SLOW_MS))
      await route.continue()
    })
    await page.getByRole('link', { name: 'Backends' }).click()
    await page.getByRole('heading', { name: site.product.backendUrl }).waitFor()
    await page.unrouteAll({ behavior: 'ignoreErrors' })
  })
}
