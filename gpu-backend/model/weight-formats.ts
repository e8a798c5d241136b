// How a graph keeps the base model's projections, and what its floats are otherwise.

export const WEIGHT_FORMATS = ['f32', 'f16', 'int8', 'int4'] as const
export type WeightFormat = (typeof WEIGHT_FORMATS)[number]

/** The type of the graph's own floats: weights that are not quantised, activations, deltas and the KV cache. */
export type FloatType = 'f32' | 'f16'

/** With 16-bit weights everything is of 16 bits. Quantised weights are multiplied in f32. */
export function floatTypeOf(format: WeightFormat): FloatType {
  return format === 'f16' ? 'f16' : 'f32'
}
