import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { promisify } from 'node:util'
import type { Page } from 'playwright-core'
import { expect, test } from 'vitest'
import { expectAccessible } from '../../support/accessibility.ts'
import { screenshot } from '../../support/chromium.ts'
import type { TestedConsole } from '../../support/console.ts'

export function playground(site: TestedConsole): void {
  test('asks the base and an adapter side by side, and says how fast, how warm and at what price', async () => {
    const page = await site.signIn({ api: 'dev-forno' })
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
    await page.getByText('curl', { exact: true }).first().click()
    await expectAccessible(page, 'answers')
    await screenshot(page, 'playground')
  })

  /** The URL and the body that a shell would hand to curl, sent. */
  async function runCurlLine(page: Page, model: string): Promise<{ body: string; answer: string }> {
    await page.getByText('curl', { exact: true }).click()
    await page.getByRole('button', { name: `Copy the curl line for ${model}` }).click()
    const line = await page.evaluate<string>('navigator.clipboard.readText()')
    const script = `curl() { for word; do printf '%s\\n' "$word"; done; }; ${line}`
    const env = { ...process.env, POLYLORA_API_KEY: 'dev-forno' }
    const { stdout } = await promisify(execFile)('sh', ['-c', script], { env })
    const [url, , authorization, , type, , body] = stdout.split('\n')
    const headers = [authorization!, type!].map((header) => header.split(': ') as [string, string])
    const response = await fetch(url!, { method: 'POST', headers, body: body! })
    return { body: body!, answer: await response.text() }
  }
  const CLIPBOARD = { permissions: ['clipboard-read', 'clipboard-write'] }

  test('shows the request as a curl line that is answered', async () => {
    const page = await site.signIn({ api: 'dev-forno' }, CLIPBOARD)
    await page.getByLabel('Question').fill("What's your name?")
    await page.getByRole('checkbox', { name: 'polylora-base' }).uncheck()
    await page.getByRole('button', { name: 'Ask' }).click()
    await page.getByText('Done', { exact: true }).waitFor()
    const { body, answer } = await runCurlLine(page, 'forno/support')
    expect(answer).toContain('data: [DONE]')
    expect(body).toContain("What's your name?")
  })

  test('continues a bare prompt, with whatever further fields the API takes', async () => {
    const page = await site.signIn({ api: 'dev-forno' }, CLIPBOARD)
    await page.getByRole('checkbox', { name: 'forno/support' }).uncheck()
    await page.getByText('Settings', { exact: true }).click()
    await page.getByLabel('Ask as').selectOption('A bare prompt')
    await page.getByLabel('Prompt', { exact: true }).fill('Our return policy:')
    const fields = page.getByLabel('Further fields')
    await fields.fill('{"top_k": 1, ')
    expect(await page.getByRole('button', { name: 'Ask' }).isDisabled()).toBe(true)
    await fields.fill('{"top_k": 1, "min_tokens": 2, "model": "forno/support"}')
    await page.getByLabel('Temperature').fill('0.75')
    await page.getByLabel('Longest answer').fill('3')
    await page.getByRole('button', { name: 'Ask' }).click()
    await page.getByText(/^(Done|Cut by length)$/).waitFor()
    const { body, answer } = await runCurlLine(page, 'polylora-base')
    expect(JSON.parse(body)).toMatchObject({
      model: 'polylora-base',
      prompt: 'Our return policy:',
      top_k: 1,
      min_tokens: 2,
      temperature: 0.75,
      max_tokens: 3,
    })
    expect(answer).toContain('"object":"text_completion"')
  })

  test('shows which setting is wrong although the settings are folded away', async () => {
    const page = await site.signIn({ api: 'dev-forno' })
    const settings = page.getByText('Settings', { exact: true })
    await settings.click()
    const longest = page.getByLabel('Longest answer')
    await longest.fill('0')
    await settings.click()
    await longest.waitFor({ state: 'hidden' })
    await page.getByRole('button', { name: 'Ask' }).click()
    await longest.waitFor()
    await expect.poll(() => longest.evaluate((element) => element === element.ownerDocument.activeElement)).toBe(true)
  })

  test('keeps what came of an answer that breaks off, and begins each line where its language does', async () => {
    const page = await site.signIn({ api: 'dev-forno' })
    await page.getByRole('checkbox', { name: 'forno/support' }).uncheck()
    const chunk = { choices: [{ index: 0, delta: { content: 'In short:\nمرحبا بكم' } }] }
    await page.route('**/v1/chat/completions', (route) => route.fulfill({ body: `data: ${JSON.stringify(chunk)}\n\n` }))
    await page.getByRole('button', { name: 'Ask' }).click()
    const text = page.getByRole('article').locator('.answer-text')
    await text.getByText('The answer broke off').waitFor()
    expect(await text.innerText()).toContain('In short:\nمرحبا بكم')
    const [english, arabic] = await page.evaluate<{ left: number; right: number }[]>(LINE_SIDES)
    expect(english!.left).toBe(0)
    expect(arabic!.right).toBe(0)
  })

  test('copies where the page has no clipboard to write to', async () => {
    const { browser, baseURL } = await site.overPlainHttp()
    const page = await site.signIn({ api: 'dev-forno' }, { baseURL }, browser)
    await page.goto('/#/adapters/support')
    const { digest } = await site.shown<{ digest: string }>('/v1/adapters/forno/support', 'dev-forno')
    await page.getByRole('button', { name: /^Copy digest/ }).click()
    await page.getByText('Copied').waitFor({ state: 'attached' })
    await page.goto('/#/playground')
    await page.getByLabel('Question').fill('')
    await page.keyboard.press('Control+V')
    await expect.poll(() => page.getByLabel('Question').inputValue()).toBe(digest)
    site.expectReported('Cross-Origin-Opener-Policy')
    await browser.close()
  })

  test('turns texts into vectors, says how alike they are, and saves them', async () => {
    const page = await site.signIn({ api: 'dev-forno' })
    await page.getByRole('link', { name: 'Embeddings' }).click()
    await page.getByLabel('Model').selectOption('forno/support')
    const texts = ['The same', 'Another', 'The same']
    await page.getByLabel('Texts').fill(texts.join('\n'))
    await page.getByRole('button', { name: 'Embed' }).click()
    const row = page.getByRole('row', { name: '1. The same' })
    await row.waitFor()
    const alike = (await row.getByRole('cell').allInnerTexts()).map(Number)
    expect(alike[0]).toBeCloseTo(1)
    expect(alike[1]).toBeLessThan(0.999)
    expect(alike[2]).toBeCloseTo(1)
    await expectAccessible(page, 'embeddings')
    await screenshot(page, 'embeddings')
    const saved = page.waitForEvent('download')
    await page.getByRole('button', { name: 'Save the vectors' }).click()
    const lines = readFileSync(await (await saved).path(), 'utf8')
      .trim()
      .split('\n')
    const body = JSON.stringify({ model: 'forno/support', input: texts })
    const answer = await site.ask('/v1/embeddings', 'dev-forno', { method: 'POST', body })
    const { data } = (await answer.json()) as { data: { embedding: number[] }[] }
    expect(lines.map((line) => JSON.parse(line).text)).toEqual(texts)
    expect(JSON.parse(lines[1]!).embedding[0]).toBeCloseTo(data[1]!.embedding[0]!, 4)
  })

  test('asks one version of an adapter beside what its name serves', async () => {
    const page = await site.signIn({ api: 'dev-forno' })
    await page.goto('/#/adapters/support')
    await page.getByRole('link', { name: /^Ask [0-9a-f]+/ }).click()
    await page.getByRole('button', { name: 'Ask all 3' }).click()
    const { digest } = await site.shown<{ digest: string }>('/v1/adapters/forno/support', 'dev-forno')
    const texts = await Promise.all(
      ['forno/support', `forno/support@${digest}`].map(async (model) => {
        const answer = page.getByRole('article', { name: `Answer of ${model}`, exact: true })
        await answer.getByText('Done', { exact: true }).waitFor()
        return answer.locator('.answer-text').textContent()
      }),
    )
    expect(texts[0]).toBe(texts[1])
  })
}

/** How far the ends of each line of the first answer are from the edges of the box that it is in. */
const LINE_SIDES = `(() => {
  const box = document.querySelector('.answer-text')
  const range = document.createRange()
  range.selectNodeContents(box.querySelector('p'))
  const { left, right } = box.getBoundingClientRect()
  const lines = [...range.getClientRects()].filter(({ width }) => width > 0)
  return lines.map((line) => ({ left: Math.round(line.left - left), right: Math.round(right - line.right) }))
})()`
