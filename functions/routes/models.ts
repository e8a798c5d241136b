// `GET /v1/models` and `/v1/base`: what this key may use, and what an adapter must be made for.
import { Hono } from 'hono'
import type { EdgeEnv } from '../edge-env.ts'
import { modelNotFound } from '../errors.ts'
import type { Model } from '../openai/answer-schemas.ts'
import { type AdapterRow, listAdapters } from '../registry/adapters.ts'
import { fullName } from '../registry/names.ts'
import { tryResolveAlias } from '../registry/resolve-model.ts'

export const models = new Hono<EdgeEnv>()
  .get('/', async (c) => c.json({ object: 'list', data: await usableModels(c.env.DB, c.var) }))
  // A name has a slash in it, which clients send as it is or encoded.
  .get('/:id{.+}', async (c) => {
    const id = c.req.param('id')
    // One of an adapter's versions is a model by itself, as it is to a completion.
    const own = id.includes('@') ? await tryResolveAlias(c, id) : undefined
    const name = own ? fullName({ tenant: c.var.principal.tenant, name: own.name }) : id
    const model = (await usableModels(c.env.DB, c.var)).find((candidate) => candidate.id === name)
    if (!model) throw modelNotFound(id)
    return c.json(own ? { ...model, id, digest: own.alias.digest } : model)
  })

export const base = new Hono<EdgeEnv>().get('/', async (c) => c.json(await c.var.edge.backends.info(Date.now())))

async function usableModels(db: D1Database, { edge, principal }: EdgeEnv['Variables']): Promise<Model[]> {
  const [info, adapters] = await Promise.all([edge.backends.info(Date.now()), listAdapters(db, principal.tenant)])
  const baseModel: Model = { id: info.base.name, object: 'model', created: 0, owned_by: 'polylora' }
  return [baseModel, ...adapters.map((adapter) => toModel(principal.tenant, adapter))]
}

function toModel(tenant: string, { name, digest, updated_ms: updatedMs }: AdapterRow): Model {
  return {
    id: fullName({ tenant, name }),
    object: 'model',
    created: Math.floor(updatedMs / 1000),
    owned_by: tenant,
    digest,
  }
}
