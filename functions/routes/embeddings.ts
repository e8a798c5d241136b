// `POST /v1/embeddings`: vectors of texts, by the base model or by an adapter of it.
import { type Context, Hono } from 'hono'
import type { EdgeEnv } from '../edge-env.ts'
import { idempotencyKey } from '../metering/idempotency-key.ts'
import type { KeptEmbedding, StoredAnswer } from '../metering/reservation.ts'
import { tokensOfTexts } from '../metering/tokens-wanted.ts'
import type { EmbeddingList } from '../openai/answer-schemas.ts'
import { EmbeddingRequest, toInputs } from '../openai/embedding-request.ts'
import { endUserOf } from '../openai/request-fields.ts'
import { decodeVector } from '../openai/vector.ts'
import { resolveModel } from '../registry/resolve-model.ts'
import { forwardEmbed } from '../router/forward.ts'
import { backendContext } from './backend-context.ts'
import { readModelRequest } from './read-model-request.ts'
import { openTicket, reserve } from './request-account.ts'
import { listText, textBody } from './text-body.ts'
import { warm } from './warm-early.ts'

export const embeddings = new Hono<EdgeEnv>().post('/', async (c) => {
  const request = await readModelRequest(c, EmbeddingRequest)
  const input = toInputs(request)
  const model = await resolveModel(c, request.model, endUserOf(request) ?? c.var.requestId)
  // What makes two requests the same: not how the vectors are written.
  const identity = [c.req.path, request.model, input]
  const ticket = openTicket(c, model, await idempotencyKey(c.req.header('idempotency-key'), identity))
  const stored = await reserve(c, ticket, tokensOfTexts(input))
  if (stored) return replay(c, request, stored)
  try {
    const warming = await warm(c, model)
    const context = backendContext(c, model.base, c.req.raw.signal, 'input')
    const embedding = await forwardEmbed(context, { delta: model.digest, input }, warming)
    const { vectors, promptTokens } = embedding
    const answer = { digest: model.digest, promptTokens, vectors }
    ticket.embedded(embedding, model.base, answer)
    await ticket.close('complete', Date.now())
    return respond(c, request, answer)
  } finally {
    // Does nothing where it is closed already.
    c.executionCtx.waitUntil(ticket.close('failed', Date.now()))
  }
})

/** The vectors that this Idempotency-Key brought before; nothing is computed and nothing is charged. */
function replay(c: Context<EdgeEnv>, request: EmbeddingRequest, { kept }: StoredAnswer): Response {
  if (!('vectors' in kept)) throw new Error('a stored answer has no vectors')
  c.header('x-polylora-replayed', 'true')
  return respond(c, request, kept)
}

function respond(
  c: Context<EdgeEnv>,
  request: EmbeddingRequest,
  { digest, promptTokens, vectors }: KeptEmbedding,
): Response {
  c.header('x-polylora-adapter', digest ?? 'base')
  const head: Omit<EmbeddingList, 'data'> = {
    object: 'list',
    model: request.model,
    usage: { prompt_tokens: promptTokens, total_tokens: promptTokens },
  }
  const text = listText(head, itemsOf(vectors, request.encoding_format === 'base64'))
  return c.body(textBody(text), 200, { 'content-type': 'application/json' })
}

/** One at a time, since each is larger as numbers. */
function* itemsOf(vectors: readonly string[], isBase64: boolean): Generator<EmbeddingList['data']> {
  for (const [index, vector] of vectors.entries())
    yield [{ object: 'embedding', index, embedding: isBase64 ? vector : decodeVector(vector) }]
}
