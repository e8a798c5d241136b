// `POST /v1/completions`: a bare prompt, continued. No chat template is applied.
import { Hono } from 'hono'
import { requireScope } from '../auth/api-key.ts'
import type { EdgeEnv } from '../edge-env.ts'
import { CompletionRequest, toCompletionSampling } from '../openai/completion-request.ts'
import { completionDialect } from '../openai/dialect.ts'
import { MAX_REQUEST_BYTES } from './chat-completions.ts'
import { answerGeneration } from './generate.ts'
import { readOwnJson } from './read-own-json.ts'
import { warmEarly } from './warm-early.ts'

export const completions = new Hono<EdgeEnv>().post('/', async (c) => {
  requireScope(c.var.principal, 'inference')
  const request = await readOwnJson(c, CompletionRequest, MAX_REQUEST_BYTES, warmEarly(c))
  return answerGeneration(c, {
    dialect: completionDialect,
    model: request.model,
    stream: request.stream ?? false,
    includeUsage: request.stream_options?.include_usage ?? false,
    user: request.user ?? undefined,
    request: { prompt: request.prompt, n: request.n ?? 1, sampling: toCompletionSampling(request) },
  })
})
