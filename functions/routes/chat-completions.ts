// `POST /v1/chat/completions`: OpenAI's request in, the backend's request out; the rest of the story is in generate.ts.
import { Hono } from 'hono'
import type { EdgeEnv } from '../edge-env.ts'
import { ChatCompletionRequest, toChatSampling, toMessages } from '../openai/chat-request.ts'
import { chatDialect } from '../openai/dialect.ts'
import { endUserOf } from '../openai/request-fields.ts'
import { toTemplateKwargs } from '../openai/template-fields.ts'
import { toTools } from '../openai/tools.ts'
import { answerGeneration } from './generate.ts'
import { readModelRequest } from './read-model-request.ts'

export const chatCompletions = new Hono<EdgeEnv>().post('/', async (c) => {
  const request = await readModelRequest(c, ChatCompletionRequest)
  return answerGeneration(c, {
    dialect: chatDialect,
    model: request.model,
    stream: request.stream ?? false,
    includeUsage: request.stream_options?.include_usage ?? false,
    user: endUserOf(request),
    request: {
      messages: toMessages(request),
      n: request.n ?? 1,
      sampling: toChatSampling(request),
      ...toTools(request),
      ...toTemplateKwargs(request),
    },
  })
})
