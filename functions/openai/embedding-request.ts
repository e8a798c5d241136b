// `POST /v1/embeddings`: the request as OpenAI defines it, and its answer's vectors as the client asked for them.
import * as z from 'zod/mini'
import type { EmbedRequest } from '../../gpu-backend/protocol.ts'
import { refuseUnsupported } from './check-request.ts'
import { modelField } from './request-fields.ts'

const text = z
  .string('must be a text, not token ids, which LangChain leaves out with check_embedding_ctx_length=False')
  .check(z.minLength(1, 'must not be empty'))
/** OpenAI's. */
const MAX_INPUTS = 2048

export const EmbeddingRequest = z.looseObject({
  model: modelField,
  input: z
    .union([text, z.array(text).check(z.minLength(1))], 'must be a text or a list of texts')
    .check(
      z.refine(
        (input) => typeof input === 'string' || input.length <= MAX_INPUTS,
        `must be at most ${MAX_INPUTS} texts`,
      ),
    ),
  encoding_format: z.nullish(z.enum(['float', 'base64'])),
  user: z.nullish(z.string()),
})
export type EmbeddingRequest = z.infer<typeof EmbeddingRequest>

const UNSUPPORTED = ['dimensions']

/** @throws ApiError 400 naming the parameter at fault */
export function toInputs(request: EmbeddingRequest): EmbedRequest['input'] {
  refuseUnsupported(request, UNSUPPORTED)
  const { input } = request
  return typeof input === 'string' ? [input] : input
}

/** Little-endian f32 in base64: what OpenAI's clients ask for by themselves. */
export function encodeVector(vector: readonly number[]): string {
  const bytes = new Uint8Array(vector.length * 4)
  const view = new DataView(bytes.buffer)
  for (const [index, value] of vector.entries()) view.setFloat32(index * 4, value, true)
  let binary = ''
  for (const byte of bytes) binary += String.fromCharCode(byte)
  return btoa(binary)
}

/** The vector that `encodeVector` made this of, rounded to f32. */
export function decodeVector(base64: string): number[] {
  const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0))
  const view = new DataView(bytes.buffer)
  return Array.from({ length: bytes.length / 4 }, (_, index) => view.getFloat32(index * 4, true))
}
