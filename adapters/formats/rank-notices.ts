// The notice where a configuration has another rank than the tensors, by which every project multiplies. Knows no format.
import type { ModuleSource } from '../delta-source.ts'

/** `says`: which file says by which name that the rank is `rank`; undefined: it says nothing. */
export function rankNotices(
  says: string,
  rank: number | undefined,
  modules: ReadonlyMap<string, ModuleSource>,
): string[] {
  const ranks = new Set(Array.from(modules.values(), (module) => module.rank))
  if (rank === undefined || (ranks.size === 1 && ranks.has(rank))) return []
  return [`${says} ${rank} where the tensors have rank ${[...ranks].join(', ')}; the tensors win.`]
}
