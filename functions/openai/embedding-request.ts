// `POST /v1/embeddings`: the request as OpenAI defines it.
import * as z from 'zod/mini'
import type { EmbedRequest } from '../../gpu-backend/protocol.ts'
import { refuseUnsupported } from './check-request.ts'
import { endUserFields, modelField } from './request-fields.ts'

const text = z.string('must be a text, not token ids, which LangChain leaves out with check_embedding_ctx_length=False')
const EMPTY = 'must not be empty'
/** OpenAI's. */
const MAX_INPUTS = 2048

export const EmbeddingRequest = z.looseObject({
  model: modelField,
  input: z
    .union(
      [
        text.check(z.minLength(1, EMPTY)),
        z.array(text.check(z.minLength(1, { error: EMPTY, abort: true }))).check(z.minLength(1)),
      ],
      'must be a text or a list of texts',
    )
    .check(
      z.refine(
        (input) => typeof input === 'string' || input.length <= MAX_INPUTS,
        `must be at most ${MAX_INPUTS} texts`,
      ),
    ),
  encoding_format: z.nullish(z.enum(['float', 'base64'])),
  ...endUserFields,
})
export type EmbeddingRequest = z.infer<typeof EmbeddingRequest>

const UNSUPPORTED = ['dimensions']

/** @throws ApiError 400 naming the parameter at fault */
export function toInputs(request: EmbeddingRequest): EmbedRequest['input'] {
  refuseUnsupported(request, UNSUPPORTED)
  const { input } = request
  return typeof input === 'string' ? [input] : input
}
