import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Locator, Page } from 'playwright-core'
import { expect, test } from 'vitest'
import { type BaseModel, targetModules } from '../../../adapters/base-model.ts'
import { digestOf } from '../../../adapters/digest.ts'
import { type FileSet, fileSet, memoryFile } from '../../../adapters/file-set.ts'
import { expectAccessible } from '../../support/accessibility.ts'
import { screenshot } from '../../support/chromium.ts'
import type { TestedConsole } from '../../support/console.ts'
import { peftFiles, peftTensors } from '../../support/peft-files.ts'
import { SAMPLE_NAMES, SAMPLES } from '../../support/samples.ts'

/** As the edge takes them. */
const PART_BYTES = 16 * 1024 ** 2
const LARGE_RANK = 160

interface ShownAdapter {
  readonly digest: string
  readonly versions: readonly { readonly digest: string }[]
  readonly canary: unknown
}

/** What a hand does that drags a folder from the desktop. */
async function drop(page: Page, target: Locator, folder: string): Promise<void> {
  const { x, y, width, height } = (await target.boundingBox())!
  const devtools = await page.context().newCDPSession(page)
  const data = { items: [], files: [folder], dragOperationsMask: 1 }
  for (const type of ['dragEnter', 'dragOver', 'drop'] as const) {
    await devtools.send('Input.dispatchDragEvent', { type, x: x + width / 2, y: y + height / 4, data })
  }
}

/** What a file input takes that is on no disk. */
async function inMemory(files: FileSet): Promise<{ name: string; mimeType: string; buffer: Buffer }[]> {
  return Promise.all(
    Array.from(files.values(), async ({ name, size, read }) => {
      return { name, mimeType: 'application/octet-stream', buffer: Buffer.from(await read(0, size)) }
    }),
  )
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

  test('converts away from the page, and sends a large file in parts that go on where they broke off', async () => {
    const page = await site.signIn({ api: 'dev-demo' })
    const { base } = await site.shown<{ base: BaseModel }>('/v1/base')
    const modules = [...targetModules(base).keys()].filter((path) => path.includes('.layers.'))
    const files = peftFiles(peftTensors(base, modules, LARGE_RANK), {
      r: LARGE_RANK,
      lora_alpha: 0.1,
      target_modules: modules,
    })
    const [, file] = [...files.values()]
    expect(file!.size).toBeGreaterThan(PART_BYTES)
    await page.goto('/#/adapters/+')
    await page.getByLabel('Choose files').setInputFiles(await inMemory(files))
    const workers: string[] = []
    page.on('worker', (worker) => workers.push(worker.url()))
    const sent: string[] = []
    page.on('request', (request) => {
      const [, part] = /\/uploads\/sha256:[0-9a-f]{64}(.*)$/.exec(request.url()) ?? []
      if (part !== undefined) sent.push(`${request.method()} ${part}`.trim())
    })
    let isCut = false
    await page.route('**/uploads/**/2', (route) => {
      if (isCut) return route.continue()
      isCut = true
      return route.abort('connectionreset')
    })
    await site.publishChosen(page, 'large')
    expect(workers.some((url) => url.includes('publish.worker'))).toBe(true)
    expect(sent).toEqual(['GET', 'PUT /1', 'PUT /2', 'PUT /2', 'POST'])
    expect((await site.shown<ShownAdapter>('/v1/adapters/demo/large')).versions).toHaveLength(1)
    site.expectReported('ERR_CONNECTION_RESET')
  })

  test('stops publishing where one says so or leaves the page, and goes on from there', async () => {
    const page = await site.signIn({ api: 'dev-demo' })
    await page.goto('/#/adapters/+/halted')
    const halt = async (leave: () => Promise<void>) => {
      await page.getByLabel('Choose a folder').setInputFiles(join(SAMPLES, SAMPLE_NAMES[0]!))
      await page.route('**/v1/adapters/demo/halted', () => {})
      const sent = page.waitForRequest('**/v1/adapters/demo/halted')
      await page.getByRole('button', { name: 'Publish' }).click()
      await sent
      await leave()
      await expect.poll(() => page.workers().length).toBe(0)
      await page.unroute('**/v1/adapters/demo/halted')
    }
    await halt(() => page.getByRole('button', { name: 'Stop' }).click())
    await page.getByText(/^Stopped\./).waitFor()
    expect(await page.getByRole('alert').count()).toBe(0)
    await expectAccessible(page, 'stopped')
    await halt(() => page.getByRole('link', { name: 'All adapters' }).click())
    expect((await site.ask('/v1/adapters/demo/halted')).status).toBe(404)
    await site.publish(page, SAMPLE_NAMES[0]!, 'halted')
  })

  test('publishes under the name in the address, and under no earlier one', async () => {
    const page = await site.signIn({ api: 'dev-demo' })
    for (const name of ['one', 'other', '']) {
      await page.goto(`/#/adapters/+/${name}`)
      await page.getByText(`Served as demo/${name || 'name'}.`).waitFor()
      expect(await page.getByLabel('Name', { exact: true }).inputValue()).toBe(name)
    }
  })

  test('takes a folder that is dropped', async () => {
    const page = await site.signIn({ api: 'dev-demo' })
    await page.goto('/#/adapters/+')
    const zone = page.getByRole('region', { name: 'Files of the adapter' })
    await zone.waitFor()
    await drop(page, zone, join(SAMPLES, SAMPLE_NAMES[3]!))
    await zone.getByRole('listitem').first().waitFor()
    const files = await zone.getByRole('listitem').allInnerTexts()
    // A text from another window.
    await zone.dispatchEvent('drop', { dataTransfer: await page.evaluateHandle('new DataTransfer()') })
    expect(await zone.getByRole('alert').innerText()).toContain('no file in it')
    expect(await zone.getByRole('listitem').allInnerTexts()).toEqual(files)
    await site.publishChosen(page, 'dropped')
    expect((await site.shown<ShownAdapter>('/v1/adapters/demo/dropped')).versions).toHaveLength(1)
  })

  test('tries a chat template as the backend renders it', async () => {
    const page = await site.signIn({ api: 'dev-demo' })
    await page.goto('/#/adapters/+')
    // As Python compares: JavaScript has it that these two are equal.
    const template = `{% if '' == false %}{{ raise_exception('unlike Python') }}{% endif %}{{ messages[0]['content'] }}`
    const folder = join(SAMPLES, SAMPLE_NAMES[0]!)
    const files = readdirSync(folder).map((name) => memoryFile(name, readFileSync(join(folder, name))))
    const templated = fileSet([...files, memoryFile('chat_template.jinja', new TextEncoder().encode(template))])
    await page.getByLabel('Choose files').setInputFiles(await inMemory(templated))
    await site.publishChosen(page, 'templated')
  })

  test('refuses files that are no adapter, or one without effect, in one sentence, and publishes nothing', async () => {
    const page = await site.signIn({ api: 'dev-demo' })
    await page.goto('/#/adapters/+')
    const refused = async (title: string, files: FileSet) => {
      await page.getByLabel('Choose files').setInputFiles(await inMemory(files))
      await page.getByLabel('Name', { exact: true }).fill('nothing')
      await page.getByRole('button', { name: 'Publish' }).click()
      const alert = page.getByRole('alert').filter({ has: page.getByRole('heading', { name: title }) })
      expect(await alert.innerText()).toContain('Nothing was published')
    }
    await refused('Something is missing', fileSet([memoryFile('notes.txt', new TextEncoder().encode('hi'))]))
    await expectAccessible(page, 'a refusal')
    await screenshot(page, 'refused')
    const { base } = await site.shown<{ base: BaseModel }>('/v1/base')
    const tensors = peftTensors(base, ['model.layers.0.self_attn.q_proj']).map((tensor) =>
      tensor.name.includes('lora_B')
        ? { ...tensor, values: new Float32Array(tensor.shape[0]! * tensor.shape[1]!) }
        : tensor,
    )
    await refused('It would change nothing', peftFiles(tensors))
    await page.goto('/#/adapters')
    await page.getByRole('heading', { name: 'Adapters' }).waitFor()
    expect(await page.getByRole('link', { name: 'demo/nothing' }).count()).toBe(0)
  })

  test('says that the connection broke off where it did, and not that the edge refused', async () => {
    const page = await site.signIn({ api: 'dev-demo' })
    await page.goto('/#/adapters/+/unsent')
    await page.getByLabel('Choose a folder').setInputFiles(join(SAMPLES, SAMPLE_NAMES[0]!))
    await page.route('**/v1/adapters', (route) => route.abort('connectionreset'))
    await page.getByRole('button', { name: 'Publish' }).click()
    await page.getByRole('alert').getByRole('heading', { name: 'The connection broke off' }).waitFor()
    site.expectReported('ERR_CONNECTION_RESET')
  })

  test('says that a page over plain HTTP cannot publish', async () => {
    const { browser, baseURL } = await site.overPlainHttp()
    const page = await site.signIn({ api: 'dev-demo' }, { baseURL }, browser)
    await page.goto('/#/adapters/+/insecure')
    await page.getByLabel('Choose a folder').setInputFiles(join(SAMPLES, SAMPLE_NAMES[0]!))
    await page.getByRole('button', { name: 'Publish' }).click()
    expect(await page.getByRole('alert').innerText()).toMatch(/plain HTTP[\s\S]*open this page over HTTPS/)
    site.expectReported('Cross-Origin-Opener-Policy')
    await browser.close()
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
