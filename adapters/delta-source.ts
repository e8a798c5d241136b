// An adapter on its way in: which modules it changes and how, with values that are loaded one module at a time.
// Knows no file format. Invariant: what `load` gives has the scale folded into B, as in the canonical delta.
import type { Delta, DeltaDtype, DeltaMetadata } from './delta.ts'

/** One module's change, not yet in memory. */
export interface ModuleSource {
  readonly rank: number
  readonly in: number
  readonly out: number
  /** The factor that `load` folds into B; kept for the report. */
  readonly scale: number
  /** a: [rank, in], b: [out, rank], both row-major f32. */
  load(): Promise<{ a: Float32Array; b: Float32Array }>
}

/** What a format's reader makes of a file set. */
export interface DeltaSource {
  readonly metadata: DeltaMetadata
  /** Of a canonical file: what its values are stored as, and will be again unless somebody says otherwise. */
  readonly dtype?: DeltaDtype
  /** By Hugging Face module path. */
  readonly modules: ReadonlyMap<string, ModuleSource>
  /** Sentences for the owner: where the configuration and the tensors disagree, what was left out and why. */
  readonly notices: readonly string[]
}

/** What the values are to be stored as, where `asked` is what somebody says. */
export function storedAs({ dtype }: DeltaSource, asked: DeltaDtype | undefined): DeltaDtype {
  return asked ?? dtype ?? 'f32'
}

/** The whole adapter in memory. */
export async function loadDelta(source: Pick<DeltaSource, 'metadata' | 'modules'>): Promise<Delta> {
  const modules = new Map()
  for (const [path, module] of source.modules) {
    const { rank, in: columns, out } = module
    modules.set(path, { rank, in: columns, out, ...(await module.load()) })
  }
  return { metadata: source.metadata, modules }
}

/** Multiplies every value by `scale`, in place. */
export function scaleInPlace(values: Float32Array, scale: number): Float32Array {
  if (scale !== 1) for (let i = 0; i < values.length; i++) values[i]! *= scale
  return values
}
