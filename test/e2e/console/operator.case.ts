import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { expectAccessible } from '../../support/accessibility.ts'
import { screenshot } from '../../support/chromium.ts'
import type { TestedConsole } from '../../support/console.ts'
import { SAMPLE_NAMES } from '../../support/samples.ts'

export function operator(site: TestedConsole): void {
  test('makes a tenant with a key, changes its limits, replaces and revokes the key, and erases it with a receipt', async () => {
    const page = await site.signIn({ operator: 'dev-admin' })
    await page.getByLabel('New tenant').fill('newcomer')
    await page.getByRole('button', { name: 'Create tenant' }).click()
    await page.getByRole('heading', { name: 'newcomer' }).waitFor()
    const newKey = page.getByRole('status').locator('code')
    const opens = async (key: string) => (await site.ask('/v1/key', key)).status
    await page.getByRole('checkbox', { name: 'usage' }).uncheck()
    await page.getByLabel('Expires').fill('2099-12-31')
    await page.getByRole('button', { name: 'Make key' }).click()
    const key = await newKey.innerText()
    await page.getByRole('button', { name: /^Revoke/ }).waitFor()
    expect(await site.shown('/v1/key', key)).toMatchObject({
      tenant: 'newcomer',
      scopes: ['inference', 'adapters'],
      expires_ms: Date.UTC(2099, 11, 31),
    })
    await page.getByLabel('Requests a minute').fill('7')
    await page.getByLabel('Prompt', { exact: true }).fill('0.15')
    await page.getByRole('button', { name: 'Save' }).click()
    await page.getByLabel('Amount').fill('2.5')
    await page.getByLabel('Payment’s id').fill('invoice-1')
    await page.getByRole('button', { name: 'Add credit' }).click()
    await page.getByRole('heading', { name: 'Balance: 2.5' }).waitFor()
    expect(await site.shown('/v1/key', key)).toMatchObject({ requests_per_minute: 7, prompt_price_nano: 150 })
    await screenshot(page, 'tenant')

    await page.getByRole('button', { name: /^Replace/ }).click()
    await expectAccessible(page, 'replacing a key')
    await page.getByLabel('The old key goes on working').selectOption('Not at all')
    await page.getByRole('dialog').getByRole('button', { name: 'Replace' }).click()
    await page.getByText('Expired').waitFor()
    const successor = await newKey.innerText()
    expect(successor).not.toBe(key)
    expect(await site.shown('/v1/key', successor)).toMatchObject({ scopes: ['inference', 'adapters'] })
    expect(await opens(key)).toBe(401)
    await page.getByRole('button', { name: /^Revoke/ }).click()
    await page.getByRole('dialog').getByRole('button', { name: 'Revoke' }).click()
    await page.getByText('Revoked').waitFor()
    expect(await opens(successor)).toBe(401)

    await page.getByRole('button', { name: 'Erase tenant' }).click()
    await page.getByRole('dialog').getByRole('button', { name: 'Erase for ever' }).click()
    const heading = page.getByRole('heading', { name: 'newcomer is erased' })
    await expect.poll(() => heading.evaluate((element) => element === element.ownerDocument.activeElement)).toBe(true)
    await expectAccessible(page, 'a receipt')
    await screenshot(page, 'receipt')
    const saved = page.waitForEvent('download')
    await page.getByRole('button', { name: 'Save the receipt' }).click()
    const receipt = JSON.parse(readFileSync(await (await saved).path(), 'utf8'))
    expect(receipt).toMatchObject({ id: 'newcomer', deleted: true, kept: expect.stringContaining('usage records') })
    expect(receipt.keys).toHaveLength(2)
    expect((await site.ask('/admin/v1/tenants/newcomer', 'dev-admin')).status).toBe(404)

    await page.getByRole('link', { name: 'All tenants' }).click()
    await page.getByLabel('Name that it had').fill('newcomer')
    await page.getByRole('button', { name: 'Show receipts' }).click()
    await page.getByText(/^newcomer was erased/).waitFor()
  })

  test('shows each key that it makes, keeps what is typed beside a payment, and no failure for another question', async () => {
    const page = await site.signIn({ operator: 'dev-admin' })
    await page.getByLabel('New tenant').fill('careful')
    await page.getByRole('button', { name: 'Create tenant' }).click()
    await page.getByRole('button', { name: 'Make key' }).click()
    await page.getByRole('button', { name: /^Revoke/ }).waitFor()
    await page.getByRole('button', { name: 'Make key' }).click()
    const newKeys = page.getByRole('status').locator('code')
    await page
      .getByRole('button', { name: /^Revoke/ })
      .nth(1)
      .waitFor()
    for (const key of await newKeys.allInnerTexts()) expect((await site.ask('/v1/key', key)).status).toBe(200)

    await page.getByLabel('Requests a minute').fill('7')
    await page.getByLabel('Amount').fill('12345.67')
    await page.getByLabel('Payment’s id').fill('invoice-1')
    await page.getByRole('button', { name: 'Add credit' }).click()
    await page.getByRole('heading', { name: 'Balance: 12,345.67' }).waitFor()
    expect(await page.getByLabel('Requests a minute').inputValue()).toBe('7')

    await page.route('**/keys/*', (route) => route.abort('connectionreset'))
    const dialog = page.getByRole('dialog')
    await page
      .getByRole('button', { name: /^Revoke/ })
      .first()
      .click()
    await dialog.getByRole('button', { name: 'Revoke' }).click()
    await dialog.getByRole('alert').waitFor()
    await dialog.getByRole('button', { name: 'Cancel' }).click()
    await page
      .getByRole('button', { name: /^Replace/ })
      .first()
      .click()
    await dialog.getByRole('button', { name: 'Replace' }).waitFor()
    expect(await dialog.getByRole('alert').count()).toBe(0)
    await dialog.getByRole('button', { name: 'Cancel' }).click()
    await page.unroute('**/keys/*')
    await page
      .getByRole('button', { name: /^Revoke/ })
      .first()
      .click()
    await dialog.getByRole('button', { name: 'Revoke' }).click()
    await page.getByText('Revoked').waitFor()
    expect(await newKeys.count()).toBe(1)
    site.expectReported('ERR_CONNECTION_RESET')
  })

  test('makes no key that never expires of a year with five digits', async () => {
    await site.ask('/admin/v1/tenants', 'dev-admin', { method: 'POST', body: '{"id":"mistyped"}' })
    const page = await site.signIn({ operator: 'dev-admin' })
    await page.goto('/#/tenants/mistyped')
    const make = page.getByRole('button', { name: 'Make key' })
    for (const day of ['20990-12-31', '2099-12-31']) {
      await page.getByLabel('Expires').fill(day)
      await make.click()
    }
    await page.getByRole('button', { name: /^Revoke/ }).waitFor()
    const { data } = await site.shown<{ data: unknown[] }>('/admin/v1/tenants/mistyped/keys', 'dev-admin')
    expect(data).toEqual([expect.objectContaining({ expires_ms: Date.UTC(2099, 11, 31) })])
  })

  test('makes one key though the button is clicked twice', async () => {
    await site.ask('/admin/v1/tenants', 'dev-admin', { method: 'POST', body: '{"id":"hasty"}' })
    const page = await site.signIn({ operator: 'dev-admin' })
    await page.goto('/#/tenants/hasty')
    const make = page.getByRole('button', { name: 'Make key' })
    await make.click()
    await page.getByRole('button', { name: /^Revoke/ }).waitFor()
    // The second click of a slow double click: the first one's key is there already.
    await make.hover()
    await page.mouse.down({ clickCount: 2 })
    await page.mouse.up({ clickCount: 2 })
    await page.getByRole('button', { name: 'Save' }).click()
    await page.getByRole('button', { name: 'Save', disabled: false }).waitFor()
    const { data } = await site.shown<{ data: unknown[] }>('/admin/v1/tenants/hasty/keys', 'dev-admin')
    expect(data).toHaveLength(1)
  })

  test('saves the limit that was changed, and leaves what another operator changed meanwhile', async () => {
    await site.ask('/admin/v1/tenants', 'dev-admin', { method: 'POST', body: '{"id":"shared"}' })
    const page = await site.signIn({ operator: 'dev-admin' })
    await page.goto('/#/tenants/shared')
    await page.getByLabel('Requests a minute').fill('9')
    const price = { method: 'PATCH', body: '{"prompt_price_nano":777}' }
    expect((await site.ask('/admin/v1/tenants/shared', 'dev-admin', price)).status).toBe(200)
    await page.getByRole('button', { name: 'Save' }).click()
    await expect.poll(() => page.getByLabel('Prompt', { exact: true }).inputValue()).toBe('0.777')
    const saved = { requests_per_minute: 9, prompt_price_nano: 777 }
    expect(await site.shown('/admin/v1/tenants/shared', 'dev-admin')).toMatchObject(saved)
  })

  test('takes no amount that cannot be counted', async () => {
    await site.ask('/admin/v1/tenants', 'dev-admin', { method: 'POST', body: '{"id":"rich"}' })
    const page = await site.signIn({ operator: 'dev-admin' })
    await page.goto('/#/tenants/rich')
    await page.getByLabel('Payment’s id').fill('invoice-1')
    for (const amount of ['1e300', '9007199']) {
      await page.getByLabel('Amount').fill(amount)
      await page.getByRole('button', { name: 'Add credit' }).click()
    }
    await page.getByRole('heading', { name: 'Balance: 9,007,199' }).waitFor()
  })

  test('keeps a dialog open until what it asked about has succeeded, or says why it failed', async () => {
    await site.ask('/admin/v1/tenants', 'dev-admin', { method: 'POST', body: '{"id":"spared"}' })
    const page = await site.signIn({ operator: 'dev-admin' })
    await page.goto('/#/tenants/spared')
    const erasure = Promise.withResolvers<void>()
    await page.route('**/tenants/spared', async (route) => {
      if (route.request().method() !== 'DELETE') return route.continue()
      await erasure.promise
      await route.abort('connectionreset')
    })
    await page.getByRole('button', { name: 'Erase tenant' }).click()
    const dialog = page.getByRole('dialog')
    await dialog.getByRole('button', { name: 'Erase for ever' }).click()
    await page.keyboard.press('Escape')
    await page.keyboard.press('Escape')
    erasure.resolve()
    await dialog.getByRole('alert').waitFor()
    await page.keyboard.press('Escape')
    await dialog.waitFor({ state: 'hidden' })
    site.expectReported('ERR_CONNECTION_RESET')
  })

  test('lets an adapter leave for browsers, and keeps it in again', async () => {
    const [tenant] = SAMPLE_NAMES.slice(-1)
    const page = await site.signIn({ operator: 'dev-admin' })
    await page.goto(`/#/tenants/${tenant}`)
    const row = page.getByRole('row', { name: `${tenant}/support` })
    const path = `/v1/adapters/${tenant}/support`
    for (const allowed of [false, true]) {
      await row.getByRole('checkbox').click()
      await row.locator(allowed ? 'input:checked:enabled' : 'input:not(:checked):enabled').waitFor()
      expect(await site.shown(path, `dev-${tenant}`)).toMatchObject({ may_leave: allowed })
    }
    await screenshot(page, 'tenant-adapters')
  })
}
