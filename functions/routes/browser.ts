// `/v1/browser`: the base model for browsers that run it themselves, where the operator has published one.
import { type Context, Hono } from 'hono'
import { type BrowserModel, modelFiles } from '../../gpu-backend/browser/manifest.ts'
import { requireScope } from '../auth/api-key.ts'
import type { EdgeEnv } from '../edge-env.ts'
import { ApiError } from '../errors.ts'
import { tryGetBrowserModel } from '../registry/browser-models.ts'
import { sendFile } from './send-file.ts'

export const browser = new Hono<EdgeEnv>()

browser.use(async (c, next) => {
  requireScope(c.var.principal, 'inference')
  await next()
})

browser
  .get('/model', async (c) => c.json(await browserModel(c)))
  .get('/files/:digest', async (c) => {
    const digest = c.req.param('digest')
    const file = modelFiles(await browserModel(c)).find((candidate) => candidate.digest === digest)
    if (file) return sendFile(c.req.raw, c.var.edge.browserFiles, file)
    throw new ApiError(404, 'file_not_found', 'The base model for browsers has no such file: read its manifest again.')
  })

/** The manifest for the base that is served now. @throws ApiError 404 */
async function browserModel(c: Context<EdgeEnv>): Promise<BrowserModel> {
  const { edge } = c.var
  const { base } = await edge.backends.info(Date.now())
  const load = () => tryGetBrowserModel(c.env.DB, base.fingerprint)
  const model = await edge.browserModels.get(base.fingerprint, Date.now(), load, c.executionCtx)
  if (model) return model
  throw new ApiError(404, 'browser_model_not_found', 'The operator has not published this base model for browsers.')
}
