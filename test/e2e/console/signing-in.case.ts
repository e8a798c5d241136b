import { expect, test } from 'vitest'
import { expectAccessible } from '../../support/accessibility.ts'
import type { TestedConsole } from '../../support/console.ts'

export function signingIn(site: TestedConsole): void {
  test('lets nobody in without a key that opens something, and says why', async () => {
    const page = await site.open()
    await page.getByLabel('API key').fill('wrong')
    await page.getByRole('button', { name: 'Sign in' }).click()
    expect(await page.getByRole('alert').textContent()).toContain('Incorrect API key')
    site.expectReported('status of 401')
    await expectAccessible(page, 'a refused key')
    await page.getByLabel('API key').fill('dev-demo')
    await page.keyboard.press('Enter')
    await page.getByRole('heading', { name: 'Playground' }).waitFor()
  })

  test('keeps the key in the tab: gone from other tabs, the address and lasting storage, and after signing out', async () => {
    const page = await site.signIn({ api: 'dev-forno' })
    await page.reload()
    await page.getByRole('heading', { name: 'Playground' }).waitFor()
    const kept = await page.evaluate<string>(
      '[location.href, document.cookie, JSON.stringify({ ...localStorage })].join()',
    )
    expect(kept).not.toContain('dev-forno')
    expect(await page.evaluate<unknown[]>('indexedDB.databases()')).toEqual([])
    const other = await page.context().newPage()
    await other.goto(site.product.url)
    await other.getByRole('button', { name: 'Sign in' }).waitFor()
    await page.getByRole('button', { name: 'Sign out' }).click()
    expect(await page.evaluate<number>('sessionStorage.length')).toBe(0)
    // Behind another tab effects come later than what is shown.
    await expect.poll(() => page.title()).toBe('Sign in · Polylora')
    await page.reload()
    await page.getByRole('button', { name: 'Sign in' }).waitFor()
  })

  test('works where the browser blocks what sites store', async () => {
    const page = await site.open()
    await page.addInitScript(`for (const name of ['localStorage', 'sessionStorage']) {
      Object.defineProperty(globalThis, name, { get: () => { throw new DOMException('denied', 'SecurityError') } })
    }`)
    await page.reload()
    await page.getByLabel('API key').fill('dev-demo')
    await page.getByRole('button', { name: 'Sign in' }).click()
    await page.getByRole('heading', { name: 'Playground' }).waitFor()
    await page.getByRole('button', { name: 'Use dark colours' }).click()
    await page.getByRole('button', { name: 'Use light colours' }).waitFor()
    await page.getByRole('button', { name: 'Sign out' }).click()
    await page.getByRole('button', { name: 'Sign in' }).waitFor()
  })

  test('shows the page of an address that changes as soon as the first page is there', async () => {
    const page = await site.open()
    await page.evaluate(`new MutationObserver((_, observer) => {
      if (!document.querySelector('[aria-label="Sign out"]')) return
      observer.disconnect()
      location.hash = '#/adapters/+/one'
    }).observe(document.body, { childList: true, subtree: true })`)
    await page.getByLabel('API key').fill('dev-demo')
    await page.getByRole('button', { name: 'Sign in' }).click()
    await page.getByText('Served as demo/one.').waitFor()
  })

  test('tries the key of the tab again where the edge could not be reached', async () => {
    const page = await site.signIn({ api: 'dev-forno' })
    await page.route('**/v1/key', (route) => route.abort('connectionreset'))
    await page.goto('/#/usage')
    await page.reload()
    expect(await page.getByRole('alert').innerText()).toContain('cannot be reached')
    await page.unroute('**/v1/key')
    await page.getByRole('button', { name: 'Try again' }).click()
    await page.getByRole('heading', { name: 'Usage' }).waitFor()
    site.expectReported('ERR_CONNECTION_RESET')
  })

  test('is walked through with the keyboard alone: signing in, asking, and on to the adapters', async () => {
    const page = await site.open()
    /** Tabs on to what is called so; every stop on the way shows that it has the focus. */
    const tabTo = async (name: string) => {
      for (let stops = 0; stops < 40; stops++) {
        await page.keyboard.press('Tab')
        const focused = await page.evaluate<[string, string] | null>(FOCUSED)
        // Past the last stop the focus is the browser's, and comes back to the first.
        if (!focused) continue
        const [called, outline] = focused
        expect(outline, called).not.toBe('none')
        if (called === name) return
      }
      throw new Error(`no way to ${name} with the Tab key`)
    }
    await tabTo('API key')
    await page.keyboard.type('dev-forno')
    await page.keyboard.press('Enter')
    await page.getByRole('heading', { name: 'Playground' }).waitFor()
    await page.getByLabel('polylora-base (bare)').waitFor()
    await tabTo('Skip to content')
    await page.keyboard.press('Enter')
    await tabTo('polylora-base (bare)')
    await page.keyboard.press('Space')
    await tabTo('Question')
    await page.keyboard.type(' Tell me.')
    await tabTo('Ask')
    await page.keyboard.press('Enter')
    const answer = page.getByRole('article')
    await answer.getByText('Done', { exact: true }).waitFor()
    expect(await answer.count()).toBe(1)
    // Whoever pressed a button still has it.
    expect(await page.evaluate<string>('document.activeElement.textContent')).toMatch(/^Ask/)
    await page.keyboard.press('Shift+Tab')
    await page.reload()
    await page.getByRole('heading', { name: 'Playground' }).waitFor()
    await tabTo('Adapters')
    await page.keyboard.press('Enter')
    await page.getByRole('heading', { name: 'Adapters', exact: true }).waitFor()
    // The new page begins at its heading.
    expect(await page.evaluate<string>('document.activeElement.textContent')).toBe('Adapters')
    await page.getByRole('link', { name: 'forno/support', exact: true }).waitFor()
    await tabTo('forno/support')
    await page.keyboard.press('Enter')
    await page.getByRole('heading', { name: 'forno/support' }).waitFor()
  })
}

/** What of the page has the focus: its label or its text, and the style of its outline (of its label where it is drawn there). */
const FOCUSED = `(() => {
  const element = document.activeElement
  if (element === document.body) return null
  const [label] = element.labels ?? []
  const drawn = element.type === 'file' ? label : element
  const name = element.ariaLabel ?? (label ?? element).textContent
  return [name.trim(), getComputedStyle(drawn).outlineStyle]
})()`
