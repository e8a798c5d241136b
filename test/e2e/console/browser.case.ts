import type { Page } from 'playwright-core'
import { beforeAll, expect, onTestFinished, test } from 'vitest'
import { EMBEDDED_NAME } from '../../../gpu-backend/config.ts'
import { BackendInfo } from '../../../gpu-backend/protocol.ts'
import { expectAccessible } from '../../support/accessibility.ts'
import { launchChromium, SOFTWARE_WEBGPU, screenshot } from '../../support/chromium.ts'
import type { TestedConsole } from '../../support/console.ts'
import { expectOneSentence } from '../../support/one-sentence.ts'
import { sampleAdapters } from '../../support/sample-adapters.ts'

const QUESTION = 'When are you open on Saturday?'
/** Chromium's GPU in software takes seconds for a step, and compiles its shaders first: half a minute for the whole test. */
const SOFTWARE_GPU_MS = 150_000
/** Model as the page offers it -> as the API names it. */
const MODELS = [
  ['The bare base model', EMBEDDED_NAME],
  ['demo/first', 'demo/first'],
  ['demo/second', 'demo/second'],
] as const

export function inThisBrowser(site: TestedConsole): void {
  beforeAll(async () => {
    const { base } = BackendInfo.parse(await site.shown('/v1/base'))
    const samples = await sampleAdapters(base)
    for (const [place, name] of ['first', 'second', 'kept'].entries()) {
      const { digest, bytes } = samples[place]!
      const init = { method: 'PUT', headers: { 'x-polylora-digest': digest }, body: bytes }
      expect((await site.ask(`/v1/adapters/demo/${name}`, 'dev-demo', init)).status).toBe(201)
      const terms = { method: 'PATCH', body: JSON.stringify({ may_leave: name !== 'kept' }) }
      expect((await site.ask(`/admin/v1/tenants/demo/adapters/${name}`, 'dev-admin', terms)).status).toBe(200)
    }
  })

  async function answerOfBackend(model: string, maxTokens: number): Promise<string> {
    const messages = [{ role: 'user', content: QUESTION }]
    const body = JSON.stringify({ model, messages, temperature: 0, max_tokens: maxTokens })
    const response = await site.ask('/v1/chat/completions', 'dev-demo', { method: 'POST', body })
    const { choices } = (await response.json()) as { choices: [{ message: { content: string } }] }
    return choices[0].message.content
  }

  /** The paths that the page asks the edge for from now on. */
  function watchRequests(page: Page): string[] {
    const paths: string[] = []
    page.on('request', (request) => paths.push(new URL(request.url()).pathname))
    return paths
  }

  const ofModel = (paths: readonly string[]) =>
    paths.filter((path) => /browser\/(files|model)|\.wasm|worker/.test(path))
  const ofWeights = (paths: readonly string[]) => paths.filter((path) => path.startsWith('/v1/browser/files/'))
  const asking = (paths: readonly string[]) => paths.filter((path) => path.includes('completions'))

  async function openModel(page: Page): Promise<void> {
    await page.goto('/#/browser')
    await page.getByRole('button', { name: 'Run the model here' }).click()
    await page.getByText(/^Runs on your/).waitFor({ timeout: SOFTWARE_GPU_MS })
  }

  /** Asks each model on the page; the answers are the backend's, all different, and the base is not fetched again. */
  async function expectBackendsAnswers(page: Page, maxTokens: number): Promise<void> {
    await page.getByLabel('Question').fill(QUESTION)
    await page.getByText('Settings', { exact: true }).click()
    await page.getByLabel('Longest answer').fill(String(maxTokens))
    const paths = watchRequests(page)
    const answers = new Set<string>()
    for (const [option, model] of MODELS) {
      await page.getByLabel('Model').selectOption(option)
      await page.getByRole('button', { name: 'Ask here' }).click()
      const answer = page.getByRole('article', { name: 'Answer in this browser' })
      await answer.getByRole('heading', { name: model }).waitFor()
      await answer.getByText('Nothing was sent.').waitFor({ timeout: SOFTWARE_GPU_MS })
      const text = (await answer.locator('.answer-text').textContent()) ?? ''
      expect(text, model).toBe(await answerOfBackend(model, maxTokens))
      answers.add(text)
    }
    expect(answers.size).toBe(MODELS.length)
    expect(ofModel(paths)).toEqual([])
    expect(asking(paths)).toEqual([])
    const deltas = paths.filter((path) => path.endsWith('/delta'))
    expect(deltas).toHaveLength(2)
  }

  test('runs the model in this browser as WebAssembly, switching adapters, with the backend’s answers', async () => {
    const page = await site.signIn({ api: 'dev-demo' })
    const paths = watchRequests(page)
    await page.goto('/#/browser')
    await page.getByRole('button', { name: 'Run the model here' }).waitFor()
    // Nothing of a model is fetched for a page that only shows that there could be one.
    expect(ofModel(paths)).toEqual([])
    await openModel(page)
    await page.getByText('Runs on your CPU (WebAssembly).').waitFor()
    await expectBackendsAnswers(page, 96)
    await expectAccessible(page, 'an answer in this browser')
    await screenshot(page, 'browser-wasm')

    await page.getByLabel('Model').selectOption('demo/kept (on the backends only)')
    await page.getByRole('button', { name: 'Ask here' }).click()
    expect(await page.getByRole('alert').innerText()).toContain("'demo/kept' may not be downloaded")
    site.expectReported('status of 403')
  })

  test('says so where what runs the model cannot be fetched, and goes on once it can', async () => {
    const page = await site.signIn({ api: 'dev-demo' })
    await page.goto('/#/browser')
    await page.context().setOffline(true)
    await page.getByRole('button', { name: 'Run the model here' }).click()
    expectOneSentence(await page.getByRole('alert').innerText())
    site.expectReported('ERR_INTERNET_DISCONNECTED')
    await page.context().setOffline(false)
    await openModel(page)
  })

  test('opens a model again whose worker has failed, and keeps what is to be asked', async () => {
    const page = await site.signIn({ api: 'dev-demo' })
    await openModel(page)
    const [question, model] = [page.getByLabel('Question'), page.getByLabel('Model')]
    await question.fill(QUESTION)
    await model.selectOption('demo/first')
    await page.workers()[0]!.evaluate('setTimeout(() => { throw new Error("out of memory") })')
    const ask = page.getByRole('button', { name: 'Ask here' })
    await ask.click()
    expect(await page.getByRole('alert').innerText()).toContain('worker failed')
    await page.getByRole('button', { name: 'Try again' }).click()
    await page.getByText(/^Runs on your/).waitFor({ state: 'detached' })
    await page.getByText(/^Runs on your/).waitFor()
    expect([await question.inputValue(), await model.inputValue()]).toEqual([QUESTION, 'demo/first'])
    await ask.click()
    const answer = page.getByRole('article', { name: 'Answer in this browser' })
    await answer.getByRole('heading', { name: 'demo/first' }).waitFor()
    await page.getByText('Nothing was sent.').waitFor()
    expect(page.workers()).toHaveLength(1)
    site.expectReported('out of memory')
  })

  test('stops a download as well as an answer, and says so', async () => {
    const page = await site.signIn({ api: 'dev-demo' })
    await openModel(page)
    await page.route('**/delta', () => {})
    await page.getByLabel('Model').selectOption('demo/first')
    const asked = page.waitForRequest('**/delta')
    await page.getByRole('button', { name: 'Ask here' }).click()
    await asked
    await page.getByRole('button', { name: 'Stop' }).click()
    await page.getByText('Stopped', { exact: true }).waitFor()
    expect(await page.getByRole('alert').count()).toBe(0)
    await page.unroute('**/delta')
    await page.getByText('Settings', { exact: true }).click()
    await page.getByLabel('Further fields').fill('{"min_tokens": 96}')
    await page.getByRole('button', { name: 'Ask here' }).click()
    await page.locator('.answer-text').getByText(/ /).waitFor()
    await page.getByRole('button', { name: 'Stop' }).click()
    await page.getByText('Stopped', { exact: true }).waitFor()
  })

  test('stops the download of the base, and begins it anew', async () => {
    const page = await site.signIn({ api: 'dev-demo' })
    await page.context().route('**/v1/browser/files/**', () => {})
    await page.goto('/#/browser')
    const asked = page.waitForRequest('**/v1/browser/files/**')
    await page.getByRole('button', { name: 'Run the model here' }).click()
    await asked
    await page.getByRole('button', { name: 'Stop' }).click()
    await page.getByRole('button', { name: 'Stop' }).waitFor({ state: 'detached' })
    await expect.poll(() => page.workers().length).toBe(0)
    expect(await page.getByRole('alert').count()).toBe(0)
    await page.context().unroute('**/v1/browser/files/**')
    await openModel(page)
  })

  test('asks the base that is here though the edge cannot be reached any more', async () => {
    const page = await site.signIn({ api: 'dev-demo' })
    await openModel(page)
    await page.getByRole('link', { name: 'Key and limits' }).click()
    // Back before the page has been left, it would still hold the model.
    await expect.poll(() => page.workers().length).toBe(0)
    await page.context().setOffline(true)
    await openModel(page)
    await page.getByRole('alert').waitFor()
    await page.getByRole('button', { name: 'Ask here' }).click()
    await page.getByText('Nothing was sent.').waitFor()
    await page.context().setOffline(false)
    await page.getByRole('button', { name: 'Try again' }).click()
    await page.getByRole('alert').waitFor({ state: 'detached' })
    await page.getByLabel('Model').selectOption('demo/first')
    site.expectReported('ERR_INTERNET_DISCONNECTED')
  })

  test('holds no model once the page is left, though it was left while the model was on its way', async () => {
    const page = await site.signIn({ api: 'dev-demo' })
    const started = page.waitForEvent('worker')
    await page.goto('/#/browser')
    await page.getByRole('button', { name: 'Run the model here' }).click()
    await started
    await page.getByRole('link', { name: 'Key and limits' }).click()
    await expect.poll(() => page.workers().length).toBe(0)
    await openModel(page)
    expect(page.workers().length).toBe(1)
    await page.getByRole('link', { name: 'Key and limits' }).click()
    await expect.poll(() => page.workers().length).toBe(0)
  })

  test('fetches no weights for a second visit, and keeps no key beside what it keeps', async () => {
    const page = await site.signIn({ api: 'dev-demo' })
    const first = watchRequests(page)
    await openModel(page)
    expect(ofWeights(first).length).toBeGreaterThan(0)
    await page.reload()
    const second = watchRequests(page)
    await openModel(page)
    expect(ofWeights(second)).toEqual([])
    const kept = await page.evaluate<string>(`(async () => {
      const all = []
      for (const name of await caches.keys()) {
        for (const request of await (await caches.open(name)).keys()) all.push(request.url, ...[...request.headers].flat())
      }
      return all.join()
    })()`)
    expect(kept).toContain('/v1/browser/files/sha256:')
    expect(kept).not.toContain('dev-demo')
  })

  // Chromium's GPU in software has been seen to stand still for good: then another one is asked.
  const onSoftwareGpu = { timeout: 2 * SOFTWARE_GPU_MS, retry: 1 }
  test('runs it on WebGPU, switching adapters, with the backend’s answers', onSoftwareGpu, async () => {
    const gpu = await launchChromium(SOFTWARE_WEBGPU)
    onTestFinished(() => gpu.close())
    const page = await site.signIn({ api: 'dev-demo' }, {}, gpu)
    await openModel(page)
    await page.getByText('Runs on your GPU (WebGPU).').waitFor()
    await expectBackendsAnswers(page, 4)
    await screenshot(page, 'browser-webgpu')
  })

  test('shows the operator what browsers may download, and withdraws it', async () => {
    const page = await site.signIn({ operator: 'dev-admin' })
    await page.goto('/#/browsers')
    await page.getByText('Published', { exact: true }).waitFor()
    await page.getByText('32-bit floats').waitFor()
    const command = page.locator('.code pre')
    expect(await command.innerText()).toBe(`npx polylora browser publish --edge ${site.product.url}`)
    await screenshot(page, 'browsers')
    await page.route('**/admin/v1/browser/model', async (route) => {
      const state = await (await route.fetch()).json()
      await route.fulfill({ json: { ...state, base: { ...state.base, name: 'another' } } })
    })
    await page.reload()
    await page.getByRole('heading', { name: 'another' }).waitFor()
    expect(await command.innerText()).toMatch(/ --model PATH$/)
    await page.unroute('**/admin/v1/browser/model')
    await page.reload()
    await page.getByRole('button', { name: 'Withdraw' }).click()
    await page.getByRole('dialog').getByRole('button', { name: 'Withdraw' }).click()
    await page.getByText('Not published').waitFor()
    expect((await site.ask('/v1/browser/model')).status).toBe(404)
  })
}
