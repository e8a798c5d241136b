import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Locator, Page } from 'playwright-core'
import { expect, onTestFinished, test } from 'vitest'
import { type BaseModel, targetModules } from '../../../adapters/base-model.ts'
import { encodeDelta } from '../../../adapters/canonical.ts'
import { type FileSet, fileSet, memoryFile } from '../../../adapters/file-set.ts'
import { expectAccessible } from '../../support/accessibility.ts'
import { screenshot } from '../../support/chromium.ts'
import type { TestedConsole } from '../../support/console.ts'
import { digestOf } from '../../support/edge-harness.ts'
import { peftFiles, peftTensors } from '../../support/peft-files.ts'
import { sampleAdapters } from '../../support/sample-adapters.ts'
import { SAMPLE_NAMES, SAMPLES } from '../../support/samples.ts'

/** As the edge takes them. */
const PART_BYTES = 16 * 1024 ** 2
const LARGE_RANK = 160
/** As many are taken at most. */
const MAX_FILES = 2000

interface ShownAdapter {
  readonly digest: string
  readonly versions: readonly { readonly digest: string }[]
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

export function publishing(site: TestedConsole): void {
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
    expect(sent).toEqual(['GET', 'PUT /1', 'PUT /2', 'PUT /2', 'POST ?alias=keep'])
    expect((await site.shown<ShownAdapter>('/v1/adapters/demo/large')).versions).toHaveLength(1)
    site.expectReported('ERR_CONNECTION_RESET')
  })

  test('stops publishing where one says so or leaves the page, and goes on from there', async () => {
    const page = await site.signIn({ api: 'dev-demo' })
    await page.goto('/#/adapters/+/halted')
    const upload = '**/v1/adapters/demo/halted?alias=keep'
    const halt = async (leave: () => Promise<void>) => {
      await page.getByLabel('Choose a folder').setInputFiles(join(SAMPLES, SAMPLE_NAMES[0]!))
      await page.route(upload, () => {})
      const sent = page.waitForRequest(upload)
      await page.getByRole('button', { name: 'Publish' }).click()
      await sent
      await leave()
      await expect.poll(() => page.workers().length).toBe(0)
      await page.unroute(upload)
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

  test('passes hidden files over, and does not count them', async () => {
    const page = await site.signIn({ api: 'dev-demo' })
    const folder = mkdtempSync(join(tmpdir(), 'polylora-hidden-'))
    onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
    cpSync(join(SAMPLES, SAMPLE_NAMES[0]!), folder, { recursive: true })
    const shown = readdirSync(folder)
    for (const name of shown) writeFileSync(join(folder, `._${name}`), 'of macOS')
    mkdirSync(join(folder, '.git'))
    for (let i = 0; i <= MAX_FILES; i++) writeFileSync(join(folder, '.git', `${i}`), '')
    await page.goto('/#/adapters/+')
    const zone = page.getByRole('region', { name: 'Files of the adapter' })
    const listed = zone.getByRole('listitem').locator('code')
    await page.getByLabel('Choose a folder').setInputFiles(folder)
    await expect.poll(async () => (await listed.allInnerTexts()).sort()).toEqual(shown.sort())
    await page.reload()
    await zone.waitFor()
    await drop(page, zone, folder)
    await expect.poll(async () => (await listed.allInnerTexts()).sort()).toEqual(shown)
    await page.getByLabel('Choose files').setInputFiles(join(folder, `._${shown[0]}`))
    expect(await zone.getByRole('alert').innerText()).toContain('no file in it')
  })

  test('stores one of our own files as it is, of 16 bits as well', async () => {
    const page = await site.signIn({ api: 'dev-demo' })
    const { base } = await site.shown<{ base: BaseModel }>('/v1/base')
    const [sample] = await sampleAdapters(base)
    const bytes = encodeDelta(sample!.delta, base, 'f16')
    await page.goto('/#/adapters/+')
    await page
      .getByLabel('Choose files')
      .setInputFiles(await inMemory(fileSet([memoryFile('pulled.safetensors', bytes)])))
    await site.publishChosen(page, 'pulled')
    expect((await site.shown<ShownAdapter>('/v1/adapters/demo/pulled')).digest).toBe(digestOf(bytes))
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

  test('says that a version is stored although it fails the test, unless its name was new and is gone again', async () => {
    const page = await site.signIn({ api: 'dev-demo' })
    await site.publish(page, SAMPLE_NAMES[0]!, 'failing')
    const { digest: first } = await site.shown<ShownAdapter>('/v1/adapters/demo/failing')
    // As both models answer where an adapter has no effect.
    await page.route('**/v1/completions', (route) => {
      const [, digest] = String(route.request().postDataJSON().model).split('@')
      const json = { choices: [{ logprobs: { top_logprobs: [{ x: -1 }] } }] }
      return route.fulfill({ json, headers: { 'x-polylora-adapter': digest ?? 'base' } })
    })
    const refused = async (name: string, where: string) => {
      await page.goto(`/#/adapters/+/${name}`)
      await page.getByLabel('Choose a folder').setInputFiles(join(SAMPLES, SAMPLE_NAMES[1]!))
      await page.getByRole('button', { name: 'Publish' }).click()
      const alert = page.getByRole('alert').filter({ hasText: 'It did not pass the test' })
      expect(await alert.innerText()).toContain(where)
    }
    await refused('failing', 'The version is stored')
    const { digest, versions } = await site.shown<ShownAdapter>('/v1/adapters/demo/failing')
    expect([digest, versions.length]).toEqual([first, 2])
    await refused('failing-anew', 'Nothing was published')
    expect((await site.ask('/v1/adapters/demo/failing-anew')).status).toBe(404)
  })

  test('says that what is published for a canary is stored, or served where its name is new', async () => {
    const page = await site.signIn({ api: 'dev-demo' })
    for (const [place, word] of ['served', 'stored'].entries()) {
      await page.goto('/#/adapters')
      await page.goto('/#/adapters/+/for-a-canary')
      await page.getByLabel('Choose a folder').setInputFiles(join(SAMPLES, SAMPLE_NAMES[place]!))
      await page.getByLabel(/publish for a canary$/).check()
      await page.getByRole('button', { name: 'Publish' }).click()
      await page.getByRole('heading', { name: `demo/for-a-canary is ${word}` }).waitFor()
    }
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
}
