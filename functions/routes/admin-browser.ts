// `/admin/v1/browser`: the operator publishes the base model for browsers, file by file and then the manifest, or withdraws it.
import { Hono } from 'hono'
import { BrowserModel, MAX_FILE_BYTES, modelFiles } from '../../gpu-backend/browser/manifest.ts'
import type { EdgeEnv } from '../edge-env.ts'
import { ApiError } from '../errors.ts'
import { deleteBrowserModel, noteBrowserFile, setBrowserModel, tryGetBrowserModel } from '../registry/browser-models.ts'
import { DigestMismatch, type ObjectStore } from '../registry/objects.ts'
import { fewAtOnce } from '../router/few-at-once.ts'
import type { BrowserModelState, StoredFile } from './browser-answers.ts'
import { readJson } from './read-json.ts'
import { declaredBytes, parseDigest } from './upload-headers.ts'

const MAX_MANIFEST_BYTES = 1024 * 1024

export const adminBrowser = new Hono<EdgeEnv>()

adminBrowser.use(async (c, next) => {
  await next()
  if (c.req.method !== 'GET') c.var.edge.browserModels.forget()
})

adminBrowser
  .get('/model', async (c) => {
    const { base } = await c.var.edge.backends.info(Date.now())
    return c.json<BrowserModelState>({ base, model: (await tryGetBrowserModel(c.env.DB, base.fingerprint)) ?? null })
  })
  .put('/model', async (c) => {
    const model = await readJson(c.req.raw, BrowserModel, MAX_MANIFEST_BYTES)
    const { base } = await c.var.edge.backends.info(Date.now())
    if (model.base.fingerprint !== base.fingerprint) {
      const message = `The backends serve ${base.name}, ${base.fingerprint}; this is made from ${model.base.fingerprint}.`
      throw new ApiError(422, 'wrong_base', message, { param: 'base' })
    }
    await requireFiles(c.var.edge.browserFiles, model)
    // Its name is the one that the backends serve it by.
    const named = { ...model, base }
    await c.var.edge.browserFiles.delete(await setBrowserModel(c.env.DB, named, Date.now()))
    return c.json(named)
  })
  .delete('/model', async (c) => {
    const { base } = await c.var.edge.backends.info(Date.now())
    const unneeded = await deleteBrowserModel(c.env.DB, base.fingerprint, Date.now())
    if (!unneeded) throw new ApiError(404, 'browser_model_not_found', 'This base model is not published for browsers.')
    await c.var.edge.browserFiles.delete(unneeded)
    return c.body(null, 204)
  })
  .get('/files/:digest', async (c) => {
    const digest = parseDigest(c.req.param('digest'), 'digest')
    const bytes = await c.var.edge.browserFiles.tryGetBytes(digest)
    if (bytes === undefined) throw new ApiError(404, 'file_not_found', `${digest} is not stored: upload it.`)
    return c.json<StoredFile>({ digest, bytes })
  })
  .put('/files/:digest', async (c) => {
    const digest = parseDigest(c.req.param('digest'), 'digest')
    const bytes = declaredBytes(c.req.header('content-length'), MAX_FILE_BYTES, 'file')
    if (!c.req.raw.body) throw new ApiError(400, 'empty_body', 'The request has no body: send the file.')
    await noteBrowserFile(c.env.DB, digest, Date.now())
    try {
      await c.var.edge.browserFiles.put(digest, c.req.raw.body, bytes)
    } catch (error) {
      if (!(error instanceof DigestMismatch)) throw error
      throw new ApiError(422, 'digest_mismatch', `The body does not hash to ${digest}: upload it again.`)
    }
    return c.json<StoredFile, 201>({ digest, bytes }, 201)
  })

/** @throws ApiError 422 where browsers could not download all that the manifest names */
async function requireFiles(store: ObjectStore, model: BrowserModel): Promise<void> {
  const files = modelFiles(model)
  const stored = await fewAtOnce(files, ({ digest }) => store.tryGetBytes(digest))
  const missing = files.filter(({ bytes }, i) => stored[i] !== bytes)
  if (missing.length === 0) return
  const message = `${missing.length} of the model’s ${files.length} files are not stored as the manifest has them, ${missing[0]!.digest} first: upload them before it.`
  throw new ApiError(422, 'file_not_stored', message)
}
