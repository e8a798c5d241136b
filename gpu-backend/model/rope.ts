// The rotary position tables (RoFormer, arXiv 2104.09864) and the ways in which models stretch them.
// Follows transformers' modeling_rope_utils for linear, llama3 and yarn. Knows nothing of layers.
import type { ModelConfig } from './model-config.ts'

export interface RopeTables {
  /** [positions, headDim / 2] f32 */
  readonly cos: Float32Array<ArrayBuffer>
  /** [positions, headDim / 2] f32 */
  readonly sin: Float32Array<ArrayBuffer>
}

/**
 * cos and sin of every angle for positions 0 .. positions-1, in the half-split layout that Hugging Face models use.
 * `size`: what queries and keys are multiplied by as they are turned.
 */
export function ropeTables(config: ModelConfig, positions: number, size = 1): RopeTables {
  const { frequencies, scale: modelScale } = scaledFrequencies(config)
  const scale = modelScale * size
  const half = frequencies.length
  const cos = new Float32Array(positions * half)
  const sin = new Float32Array(positions * half)
  for (let position = 0; position < positions; position++) {
    for (let i = 0; i < half; i++) {
      const angle = position * frequencies[i]!
      cos[position * half + i] = Math.cos(angle) * scale
      sin[position * half + i] = Math.sin(angle) * scale
    }
  }
  return { cos, sin }
}

function scaledFrequencies(config: ModelConfig): { frequencies: number[]; scale: number } {
  const half = config.headDim / 2
  const plain = Array.from({ length: half }, (_, i) => config.ropeTheta ** (-i / half))
  const scaling = config.ropeScaling
  const factor = scaling?.factor ?? 1
  switch (scaling?.rope_type) {
    case 'linear':
      return { frequencies: plain.map((frequency) => frequency / factor), scale: 1 }
    case 'llama3': {
      const low = scaling.low_freq_factor ?? 1
      const high = scaling.high_freq_factor ?? 4
      const original = scaling.original_max_position_embeddings ?? config.maxPositions
      const frequencies = plain.map((frequency) => {
        const turns = (original * frequency) / (2 * Math.PI)
        const smooth = Math.min(1, Math.max(0, (turns - low) / (high - low)))
        return (1 - smooth) * (frequency / factor) + smooth * frequency
      })
      return { frequencies, scale: 1 }
    }
    case 'yarn': {
      const original = scaling.original_max_position_embeddings ?? config.maxPositions
      const dimension = (turns: number) =>
        (config.headDim * Math.log(original / (turns * 2 * Math.PI))) / (2 * Math.log(config.ropeTheta))
      const [first, last] = [dimension(scaling.beta_fast ?? 32), dimension(scaling.beta_slow ?? 1)]
      const whole = scaling.truncate !== false
      const low = Math.max(0, whole ? Math.floor(first) : first)
      const high = Math.min(config.headDim - 1, whole ? Math.ceil(last) : last)
      const frequencies = plain.map((frequency, i) => {
        const ramp = Math.min(1, Math.max(0, (i - low) / Math.max(0.001, high - low)))
        return ramp * (frequency / factor) + (1 - ramp) * frequency
      })
      return {
        frequencies,
        scale: scaling.attention_factor ?? yarnScale(factor, scaling.mscale, scaling.mscale_all_dim),
      }
    }
    // A GGUF file holds the outcome of llama3 scaling, not its parameters.
    case 'divisors':
      return { frequencies: plain.map((frequency, i) => frequency / scaling!.divisors![i]!), scale: 1 }
    default:
      return { frequencies: plain, scale: 1 }
  }
}

function yarnScale(factor: number, mscale?: number | null, mscaleAllDim?: number | null): number {
  const scale = (weight: number) => (factor <= 1 ? 1 : 0.1 * weight * Math.log(factor) + 1)
  return mscale && mscaleAllDim ? scale(mscale) / scale(mscaleAllDim) : scale(1)
}
