// What answers with a model, and what the models are.
import { BrowserModel } from '../../gpu-backend/browser/manifest.ts'
import { BackendInfo } from '../../gpu-backend/protocol.ts'
import {
  ChatCompletion,
  ChatCompletionChunk,
  EmbeddingList,
  Model,
  TextCompletion,
  TextCompletionChunk,
} from '../openai/answer-schemas.ts'
import { ChatCompletionRequest } from '../openai/chat-request.ts'
import { CompletionRequest } from '../openai/completion-request.ts'
import { EmbeddingRequest } from '../openai/embedding-request.ts'
import { listOf } from '../routes/list-of.ts'
import { binary, get, json, type Operation, post, streamed } from './operation.ts'

const IDEMPOTENCY = {
  'Idempotency-Key': 'The same key with the same request is answered and charged once, for 24 hours.',
}
const ANSWER = 'The answer, in OpenAI’s format; server-sent events where `stream` is true.'
const REFUSALS = {
  404: 'No such model for this key.',
  429: 'A limit is reached, or the balance is.',
  503: 'No backend.',
}

export const INFERENCE_OPERATIONS: readonly Operation[] = [
  post(
    '/v1/chat/completions',
    'inference',
    'Answers a conversation with the base model or one of the tenant’s adapters.',
    {
      body: ChatCompletionRequest,
      headers: IDEMPOTENCY,
      answers: { 200: streamed(ANSWER, ChatCompletion, ChatCompletionChunk), ...REFUSALS },
    },
  ),
  post('/v1/completions', 'inference', 'Continues a bare prompt; no chat template is applied.', {
    body: CompletionRequest,
    headers: IDEMPOTENCY,
    answers: { 200: streamed(ANSWER, TextCompletion, TextCompletionChunk), ...REFUSALS },
  }),
  post('/v1/embeddings', 'inference', 'Turns texts into vectors: the mean of the last hidden states, of length 1.', {
    body: EmbeddingRequest,
    headers: IDEMPOTENCY,
    answers: { 200: json('One vector for each input.', EmbeddingList), ...REFUSALS },
  }),
  get('/v1/models', null, 'Lists what this key may use: the base model and the tenant’s adapters.', {
    answers: { 200: json('A list of models.', listOf(Model)) },
  }),
  get('/v1/models/{model}', null, 'Shows one of them. Its id has a slash, sent as it is or encoded.', {
    answers: { 200: json('The model.', Model), 404: 'No such model for this key.' },
  }),
  get('/v1/base', null, 'Describes the base model that an adapter must be made for.', {
    answers: { 200: json('Its fingerprint, sizes, and the backend’s limits.', BackendInfo) },
  }),
  get('/v1/browser/model', 'inference', 'The base model as browsers run it: its files, by digest.', {
    answers: { 200: json('The manifest.', BrowserModel), 404: 'The operator has published none.' },
  }),
  get('/v1/browser/files/{digest}', 'inference', 'One of the manifest’s files; ranges are served.', {
    answers: { 200: binary('The file.'), 206: binary('A part of it.'), 404: 'The manifest has no such file.' },
  }),
]
