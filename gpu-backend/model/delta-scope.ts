// How much of a model deltas change. Each scope has a graph of its own on a CPU, since the operators that a delta takes cost
// time even where it changes nothing.
import { isFactor } from './delta-factors.ts'

/** Each has all that those before it have. Attention alone is what PEFT, alpaca-lora and loralib change by default. */
export const DELTA_SCOPES = ['nothing', 'attention', 'everything'] as const
export type DeltaScope = (typeof DELTA_SCOPES)[number]

/** The input by which token embeddings are changed. */
export const EMBEDDING_DELTA = 'embedding_delta'
/**
 * Every scope but `nothing` has it: it costs next to nothing, and without its unknown shape at the start ONNX Runtime (1.30) loads a
 * graph with deltas for three times as long.
 */
export const EMBEDDING_SCOPE: DeltaScope = 'attention'

/** The narrowest scope that has the projection group of this name. */
export function groupScope(name: string): DeltaScope {
  return /\.(qkv|o)$/.test(name) ? 'attention' : 'everything'
}

/** The narrowest scope that has the graph's input of this name; undefined: it is not a delta's. */
export function inputScope(name: string): DeltaScope | undefined {
  if (name === EMBEDDING_DELTA) return EMBEDDING_SCOPE
  return isFactor(name) ? groupScope(name.slice(0, name.lastIndexOf('.'))) : undefined
}

/** Whether `scope` has all that `part` has. */
export function hasScope(scope: DeltaScope, part: DeltaScope): boolean {
  return DELTA_SCOPES.indexOf(scope) >= DELTA_SCOPES.indexOf(part)
}

/** The narrowest that has all of `scopes`. */
export function widestScope(scopes: readonly DeltaScope[]): DeltaScope {
  return scopes.reduce((widest, scope) => (hasScope(widest, scope) ? widest : scope), 'nothing')
}
