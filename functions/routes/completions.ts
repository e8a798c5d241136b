// `POST /v1/completions`: a bare prompt, continued. No chat template is applied.
import { Hono } from 'hono'
import type { EdgeEnv } from '../edge-env.ts'
import { CompletionRequest, toCompletionSampling } from '../openai/completion-request.ts'
import { completionDialect } from '../openai/dialect.ts'
import { endUserOf } from '../openai/request-fields.ts'
import { answerGeneration } from './generate.ts'
import { readModelRequest } from './read-model-request.ts'

export const completions = new Hono<EdgeEnv>().post('/', async (c) => {
  const request = await readModelRequest(c, CompletionRequest)
  return answerGeneration(c, {
    dialect: completionDialect,
    model: request.model,
    stream: request.stream ?? false,
    includeUsage: request.stream_options?.include_usage ?? false,
    user: endUserOf(request),
    request: { prompt: request.prompt, n: request.n ?? 1, sampling: toCompletionSampling(request) },
  })
})
