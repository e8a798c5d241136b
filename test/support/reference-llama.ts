// A Llama in plain loops, float64 inside: what the engine and the formats are compared with where torch is not at hand.
// Knows no batching, cache or kernels. Invariant: written from the model's definition, sharing nothing with the product.
import type { BaseModel } from '../../adapters/base-model.ts'
import type { Delta } from '../../adapters/delta.ts'

/** Weights by Hugging Face name, float32, row-major. */
export type Weights = ReadonlyMap<string, Float32Array>

const ROPE_THETA = 10_000
const EPSILON = 1e-5

/** Logits [tokens, vocab] of `ids` with `delta` applied to the weights of `base`. */
export function referenceLogits(base: BaseModel, weights: Weights, ids: readonly number[], delta?: Delta): number[][] {
  const weight = (name: string) => {
    const stored = name === 'lm_head' && base.tied_embeddings ? 'model.embed_tokens' : name
    const found = weights.get(`${stored}.weight`)
    if (found === undefined) throw new Error(`no weight ${name}`)
    return found
  }
  const linear = (name: string, x: readonly number[], out: number): number[] => {
    const y = multiply(weight(name), x, out)
    const module = delta?.modules.get(name)
    if (module === undefined) return y
    const change = multiply(module.b, multiply(module.a, x, module.rank), out)
    return y.map((value, i) => value + change[i]!)
  }
  const norm = (name: string, x: readonly number[]): number[] => {
    const gain = weight(name)
    const scale = 1 / Math.sqrt(x.reduce((sum, value) => sum + value * value, 0) / x.length + EPSILON)
    return x.map((value, i) => value * scale * gain[i]!)
  }
  let hidden = ids.map((id) => embed(id, weight('model.embed_tokens'), base, delta))
  for (let layer = 0; layer < base.layers; layer++) {
    const path = `model.layers.${layer}`
    const normed = hidden.map((x) => norm(`${path}.input_layernorm`, x))
    const queries = normed.map((x, t) =>
      rotate(linear(`${path}.self_attn.q_proj`, x, base.heads * base.head_dim), t, base),
    )
    const keys = normed.map((x, t) =>
      rotate(linear(`${path}.self_attn.k_proj`, x, base.kv_heads * base.head_dim), t, base),
    )
    const values = normed.map((x) => linear(`${path}.self_attn.v_proj`, x, base.kv_heads * base.head_dim))
    hidden = hidden.map((x, t) => {
      const attended = linear(`${path}.self_attn.o_proj`, attend(queries[t]!, keys, values, t, base), base.hidden_size)
      const middle = x.map((value, i) => value + attended[i]!)
      const y = norm(`${path}.post_attention_layernorm`, middle)
      const gate = linear(`${path}.mlp.gate_proj`, y, base.intermediate_size)
      const up = linear(`${path}.mlp.up_proj`, y, base.intermediate_size)
      const gated = gate.map((value, i) => (value / (1 + Math.exp(-value))) * up[i]!)
      const down = linear(`${path}.mlp.down_proj`, gated, base.hidden_size)
      return middle.map((value, i) => value + down[i]!)
    })
  }
  return hidden.map((x) => linear('lm_head', norm('model.norm', x), base.vocab_size))
}

/** W [out, in] times x [in]. */
function multiply(w: Float32Array | Float16Array, x: readonly number[], out: number): number[] {
  return Array.from({ length: out }, (_, row) => {
    let sum = 0
    for (let column = 0; column < x.length; column++) sum += w[row * x.length + column]! * x[column]!
    return sum
  })
}

function embed(id: number, table: Float32Array, base: BaseModel, delta?: Delta): number[] {
  const row = Array.from(table.subarray(id * base.hidden_size, (id + 1) * base.hidden_size))
  const module = delta?.modules.get('model.embed_tokens')
  if (module === undefined) return row
  const column = Array.from({ length: module.rank }, (_, r) => module.a[r * module.in + id]!)
  const change = multiply(module.b, column, base.hidden_size)
  return row.map((value, i) => value + change[i]!)
}

/** Hugging Face's rotary order: value p of a head turns with value p + d/2. */
function rotate(x: readonly number[], position: number, base: BaseModel): number[] {
  const half = base.head_dim / 2
  return x.map((value, i) => {
    const p = i % base.head_dim
    const angle = position * ROPE_THETA ** (-(2 * (p % half)) / base.head_dim)
    const partner = p < half ? -x[i + half]! : x[i - half]!
    return value * Math.cos(angle) + partner * Math.sin(angle)
  })
}

function attend(query: readonly number[], keys: number[][], values: number[][], t: number, base: BaseModel): number[] {
  const size = base.head_dim
  return Array.from({ length: base.heads }, (_, head) => {
    const shared = Math.floor((head * base.kv_heads) / base.heads) * size
    const scores = keys.slice(0, t + 1).map((key) => {
      let sum = 0
      for (let i = 0; i < size; i++) sum += query[head * size + i]! * key[shared + i]!
      return Math.exp(sum / Math.sqrt(size))
    })
    const total = scores.reduce((sum, score) => sum + score, 0)
    return Array.from({ length: size }, (_, i) =>
      scores.reduce((sum, score, s) => sum + (score / total) * values[s]![shared + i]!, 0),
    )
  }).flat()
}
