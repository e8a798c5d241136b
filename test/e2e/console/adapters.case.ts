import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { digestOf } from '../../../adapters/digest.ts'
import { expectAccessible } from '../../support/accessibility.ts'
import { screenshot } from '../../support/chromium.ts'
import type { TestedConsole } from '../../support/console.ts'
import { SAMPLE_NAMES } from '../../support/samples.ts'

interface ShownAdapter {
  readonly digest: string
  readonly versions: readonly { readonly digest: string }[]
  readonly canary: unknown
}

export function adapters(site: TestedConsole): void {
  test('publishes what projects saved, says what was found, and moves the name back and on', async () => {
    const page = await site.signIn({ api: 'dev-demo' })
    await site.publish(page, SAMPLE_NAMES[0]!, 'mine')
    expect(await page.getByRole('listitem').allInnerTexts()).toEqual(
      expect.arrayContaining([expect.stringMatching(/It acts: .* log probabilities move/)]),
    )
    await page.getByText('Change by layer').first().click()
    await expectAccessible(page, 'a report')
    await screenshot(page, 'published')
    const first = (await site.shown<ShownAdapter>('/v1/adapters/demo/mine')).digest
    await site.publish(page, SAMPLE_NAMES[1]!, 'mine')
    const { digest: second, versions } = await site.shown<ShownAdapter>('/v1/adapters/demo/mine')
    expect(versions.map(({ digest }) => digest).sort()).toEqual([first, second].sort())

    await page.getByRole('link', { name: 'Versions and canary' }).click()
    await page.getByRole('button', { name: /^Roll back to/ }).click()
    await page
      .getByRole('row', { name: new RegExp(first.slice(7, 17)) })
      .getByText('All requests')
      .waitFor()
    expect((await site.shown<ShownAdapter>('/v1/adapters/demo/mine')).digest).toBe(first)

    await page.getByRole('button', { name: /^Canary: / }).click()
    const slider = page.getByRole('slider')
    await slider.fill('35')
    await page.getByRole('button', { name: 'Set share' }).click()
    await page.getByText('Canary, 35 %').waitFor()
    const canary = { digest: second, weight: 0.35 }
    expect((await site.shown<ShownAdapter>('/v1/adapters/demo/mine')).canary).toEqual(canary)
    await expectAccessible(page, 'a canary')
    await screenshot(page, 'adapter')
    await page.getByRole('button', { name: 'Promote' }).click()
    await page
      .getByRole('row', { name: new RegExp(second.slice(7, 17)) })
      .getByText('All requests')
      .waitFor()
  })

  test('does what its buttons say, or shows what somebody else has done meanwhile', async () => {
    const page = await site.signIn({ api: 'dev-demo' })
    const digests: string[] = []
    for (const sample of SAMPLE_NAMES.slice(0, 3)) {
      await site.publish(page, sample, 'moved')
      digests.push((await site.shown<ShownAdapter>('/v1/adapters/demo/moved')).digest)
    }
    const [first, second, third] = digests.map((digest) => digest.slice(7, 17))
    await page.getByRole('link', { name: 'Versions and canary' }).click()
    const back = page.getByRole('button', { name: `Roll back to ${second}` })
    await back.waitFor()
    const move = { method: 'PUT', body: JSON.stringify({ digest: digests[0] }) }
    expect((await site.ask('/v1/adapters/demo/moved/alias', 'dev-demo', move)).status).toBe(200)
    await back.click()
    expect(await page.getByRole('alert').innerText()).toContain('points at another version by now')
    await page.getByRole('row', { name: first! }).getByText('All requests').waitFor()
    await page.getByRole('button', { name: `Roll back to ${third}` }).waitFor()
    await page.getByRole('button', { name: `Point here: ${second}` }).click()
    await page.getByRole('row', { name: second! }).getByText('All requests').waitFor()
    expect(await page.getByRole('alert').count()).toBe(0)
    site.expectReported('status of 409')
  })

  test('saves the file of a version that may leave', async () => {
    const page = await site.signIn({ api: 'dev-forno' })
    await page.goto('/#/adapters/support')
    const saved = page.waitForEvent('download')
    await page.getByRole('button', { name: /^Download/ }).click()
    const file = readFileSync(await (await saved).path())
    const { digest } = await site.shown<ShownAdapter>('/v1/adapters/forno/support', 'dev-forno')
    expect(await digestOf(new Uint8Array(file))).toBe(digest)
  })

  test('deletes an adapter only after asking, and says what is gone', async () => {
    const page = await site.signIn({ api: 'dev-demo' })
    await site.publish(page, SAMPLE_NAMES[2]!, 'brief')
    const { digest } = await site.shown<ShownAdapter>('/v1/adapters/demo/brief')
    await page.goto('/#/adapters/brief')
    await page.getByRole('button', { name: 'Delete adapter' }).click()
    await page.getByRole('dialog').getByRole('button', { name: 'Cancel' }).click()
    await page.getByRole('button', { name: 'Delete adapter' }).click()
    await expectAccessible(page, 'a dialog')
    await page.getByRole('dialog').getByRole('button', { name: 'Delete for ever' }).click()
    const heading = page.getByRole('heading', { name: 'demo/brief is deleted' })
    await expect.poll(() => heading.evaluate((element) => element === element.ownerDocument.activeElement)).toBe(true)
    // petal/support is the same file, which goes on being served.
    expect(await page.getByRole('status').innerText()).toContain('other names have the same versions')
    expect(await site.shown('/v1/adapters/demo/brief')).toMatchObject({ error: { code: 'adapter_not_found' } })
    expect(await site.shown(`/v1/adapters/${SAMPLE_NAMES[2]}/support`, `dev-${SAMPLE_NAMES[2]}`)).toMatchObject({
      digest,
    })
  })
}
