// `POST /v1/chat/completions`: OpenAI's request in, the backend's request out; the rest of the story is in generate.ts.
import { Hono } from 'hono'
import { requireScope } from '../auth/api-key.ts'
import type { EdgeEnv } from '../edge-env.ts'
import { ChatCompletionRequest, toChatSampling, toMessages } from '../openai/chat-request.ts'
import { chatDialect } from '../openai/dialect.ts'
import { toTemplateKwargs } from '../openai/template-fields.ts'
import { toTools } from '../openai/tools.ts'
import { answerGeneration } from './generate.ts'
import { readOwnJson } from './read-own-json.ts'
import { warmEarly } from './warm-early.ts'

export const MAX_REQUEST_BYTES = 4 * 1024 * 1024

export const chatCompletions = new Hono<EdgeEnv>().post('/', async (c) => {
  requireScope(c.var.principal, 'inference')
  const request = await readOwnJson(c, ChatCompletionRequest, MAX_REQUEST_BYTES, warmEarly(c))
  return answerGeneration(c, {
    dialect: chatDialect,
    model: request.model,
    stream: request.stream ?? false,
    includeUsage: request.stream_options?.include_usage ?? false,
    user: request.user ?? undefined,
    request: {
      messages: toMessages(request),
      n: request.n ?? 1,
      sampling: toChatSampling(request),
      ...toTools(request),
      ...toTemplateKwargs(request),
    },
  })
})
