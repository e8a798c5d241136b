// Random deltas for a base model, from a seed: any modules, any rank for each, of a chosen strength.
import { type BaseModel, targetModules } from '../../adapters/base-model.ts'
import { encodeDelta } from '../../adapters/canonical.ts'
import type { Delta, DeltaModule } from '../../adapters/delta.ts'
import { digestOf } from '../../adapters/digest.ts'
import { seededRandom } from './seeded-random.ts'

export interface DeltaRecipe {
  readonly seed: number
  /** The rank of every module, or the rank of each by its path. */
  readonly rank: number | ((path: string) => number)
  /** Which modules change; all but the embeddings where left out. */
  readonly modules?: (path: string) => boolean
  /** Size of the change B A's typical entry, whatever the rank. */
  readonly strength?: number
  readonly chatTemplate?: string
}

export interface EncodedDelta {
  readonly digest: string
  readonly bytes: Uint8Array<ArrayBuffer>
  readonly delta: Delta
}

export function randomDelta(base: BaseModel, recipe: DeltaRecipe): Delta {
  const random = seededRandom(recipe.seed)
  const chosen = recipe.modules ?? ((path: string) => path !== 'model.embed_tokens')
  const modules = new Map<string, DeltaModule>()
  for (const [path, size] of targetModules(base)) {
    if (!chosen(path)) continue
    const rank = typeof recipe.rank === 'number' ? recipe.rank : recipe.rank(path)
    const scale = Math.sqrt((recipe.strength ?? 0.3) / Math.sqrt(rank))
    const values = (length: number) => Float32Array.from({ length }, () => (random() * 2 - 1) * scale)
    modules.set(path, { rank, ...size, a: values(rank * size.in), b: values(size.out * rank) })
  }
  const { chatTemplate } = recipe
  const template = chatTemplate === undefined ? {} : { chatTemplate }
  return { metadata: { base: base.fingerprint, sourceFormat: 'test', ...template }, modules }
}

/** A random delta as the canonical file that an edge sends. */
export async function encodedRandomDelta(base: BaseModel, recipe: DeltaRecipe): Promise<EncodedDelta> {
  const delta = randomDelta(base, recipe)
  const bytes = encodeDelta(delta, base)
  return { digest: await digestOf(bytes), bytes, delta }
}
