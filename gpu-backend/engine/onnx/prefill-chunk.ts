// How many of a prompt's tokens are computed at once. Pure; the backend and the browser ask it alike.
import { HEAD, type ModelDimensions, projectionGroups, weightsOf } from '../../model/projection-groups.ts'

/**
 * Operations that a prefill chunk may take: 64 tokens of SmolLM2-135M, which last 20 to 40 ms on two cores of Zen 5. Larger chunks
 * compute more tokens per second, and hold up for longer those whose tokens are being generated.
 */
const CHUNK_OPERATIONS = 2e10
/**
 * Fewer than MIN would cost a large model more than their pauses are worth: weights are read for each chunk, and each waits for a
 * step of the others' tokens.
 */
const [MIN_TOKENS, MAX_TOKENS] = [32, 128]

/** A GPU takes hardly longer for so many tokens than for a few. */
export const GPU_CHUNK_TOKENS = 128

/** What WebGPU computes rightly with every driver, see long-pieces.ts. */
const WEBGPU_CHUNK_TOKENS = 16

/** Tokens of a prefill chunk: fixed by the model's size, so that an answer does not depend on the machine's load. */
export function prefillChunkTokens(config: ModelDimensions, device: 'cpu' | 'webgpu' | 'cuda'): number {
  if (device === 'webgpu') return WEBGPU_CHUNK_TOKENS
  if (device === 'cuda') return GPU_CHUNK_TOKENS
  const weights = weightsOf(projectionGroups(config).filter(({ name }) => name !== HEAD))
  const tokens = CHUNK_OPERATIONS / (2 * weights)
  return Math.min(MAX_TOKENS, Math.max(MIN_TOKENS, 2 ** Math.floor(Math.log2(tokens))))
}
