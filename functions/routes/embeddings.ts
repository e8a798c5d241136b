// `POST /v1/embeddings`: vectors of texts, by the base model or by an adapter of it.
import { Hono } from 'hono'
import { requireScope } from '../auth/api-key.ts'
import type { EdgeEnv } from '../env.ts'
import { EmbeddingRequest, encodeVector, toInputs, UNSUPPORTED_EMBEDDING } from '../openai/embedding-request.ts'
import { refuseUnsupported } from '../openai/sampling-fields.ts'
import { readJson } from '../read-json.ts'
import { resolveModel } from '../registry/resolve-model.ts'
import { forwardEmbed } from '../router/forward.ts'
import { MAX_REQUEST_BYTES } from './chat-completions.ts'
import { backendContext, estimateTokens, openTicket, reserve } from './request-account.ts'
import { warm, warmEarly } from './warm-early.ts'

export const embeddings = new Hono<EdgeEnv>().post('/', async (c) => {
  requireScope(c.var.principal, 'inference')
  const request = await readJson(c.req.raw, EmbeddingRequest, MAX_REQUEST_BYTES, warmEarly(c))
  refuseUnsupported(request, UNSUPPORTED_EMBEDDING)
  const input = toInputs(request)
  const model = await resolveModel(c, request.model, request.user ?? c.var.requestId)
  const warming = await warm(c, model.digest)
  const ticket = openTicket(c, model, undefined)
  await reserve(c, ticket, estimateTokens(input.join('')), 0)
  try {
    const context = backendContext(c, c.req.raw.signal)
    const embedding = await forwardEmbed(context, { delta: model.digest, input }, warming)
    const { base } = await c.var.edge.backends.info(Date.now())
    ticket.embedded(embedding, base.fingerprint)
    await ticket.close('complete', Date.now())
    c.header('x-polylora-adapter', model.digest ?? 'base')
    const { embeddings: vectors, prompt_tokens: tokens } = embedding.answer
    return c.json({
      object: 'list',
      model: request.model,
      data: vectors.map((vector, index) => ({
        object: 'embedding',
        index,
        embedding: encodeVector(vector, request.encoding_format),
      })),
      usage: { prompt_tokens: tokens, total_tokens: tokens },
    })
  } finally {
    // Does nothing where it is closed already.
    c.executionCtx.waitUntil(ticket.close('failed', Date.now()))
  }
})
