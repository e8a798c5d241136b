// What a delta must fit: the identity and shape of a base model. Says nothing of weights or of how it is run.
// Invariant: `targetModules` is the only list of module names and sizes; every check compares with it.
import * as z from 'zod/mini'

const size = z.int().check(z.positive())

/** The identity (`fingerprint`) and dimensions of a base model, as a backend publishes them at `GET /v1/base`. */
export const BaseModel = z.object({
  /** `sha256:` over the weights and the configuration that changes their meaning. */
  fingerprint: z.string().check(z.regex(/^sha256:[0-9a-f]{64}$/)),
  name: z.string(),
  architecture: z.string(),
  layers: size,
  hidden_size: size,
  intermediate_size: size,
  heads: size,
  kv_heads: size,
  head_dim: size,
  vocab_size: size,
  tied_embeddings: z.boolean(),
})
export type BaseModel = z.infer<typeof BaseModel>

/** A linear map `y[out] = W[out, in] x[in]` that a delta may change. */
export interface TargetModule {
  readonly in: number
  readonly out: number
}

/**
 * Every module of `base` that a delta may target, by its Hugging Face path: `model.layers.N.self_attn.q_proj`, ...,
 * `model.embed_tokens` (in = vocabulary, out = hidden) and `lm_head`.
 */
export function targetModules(base: BaseModel): Map<string, TargetModule> {
  const modules = new Map<string, TargetModule>()
  const query = base.heads * base.head_dim
  const keyValue = base.kv_heads * base.head_dim
  for (let layer = 0; layer < base.layers; layer++) {
    const path = `model.layers.${layer}`
    modules.set(`${path}.self_attn.q_proj`, { in: base.hidden_size, out: query })
    modules.set(`${path}.self_attn.k_proj`, { in: base.hidden_size, out: keyValue })
    modules.set(`${path}.self_attn.v_proj`, { in: base.hidden_size, out: keyValue })
    modules.set(`${path}.self_attn.o_proj`, { in: query, out: base.hidden_size })
    modules.set(`${path}.mlp.gate_proj`, { in: base.hidden_size, out: base.intermediate_size })
    modules.set(`${path}.mlp.up_proj`, { in: base.hidden_size, out: base.intermediate_size })
    modules.set(`${path}.mlp.down_proj`, { in: base.intermediate_size, out: base.hidden_size })
  }
  modules.set('model.embed_tokens', { in: base.vocab_size, out: base.hidden_size })
  modules.set('lm_head', { in: base.hidden_size, out: base.vocab_size })
  return modules
}

/** Values in A and B of a delta that has `rank` on every projection. */
export function projectionValues(base: BaseModel, rank: number): number {
  const projections = [...targetModules(base)].filter(([path]) => path.includes('_proj'))
  return projections.reduce((sum, [, module]) => sum + rank * (module.in + module.out), 0)
}

/** What a module is called in every layer, as in PEFT's `target_modules`: the last part of its path. */
export function targetName(path: string): string {
  return path.slice(path.lastIndexOf('.') + 1)
}

/** The names of all of these modules, each once, sorted. */
export function targetNames(paths: Iterable<string>): string[] {
  return [...new Set(Array.from(paths, targetName))].sort()
}
