// What a backend can apply of what a base model allows: the largest rank, and modules that it cannot change.
// Knows no backend: the limits come from its `GET /v1/base`. Asked when an adapter is published and when it is taken in.
import { targetName } from './base-model.ts'
import { AdapterError } from './errors.ts'

/** What an operator, or the engine that serves, accepts. */
export interface ModuleLimits {
  readonly maxRank: number
  /** Modules, by `targetName`, that cannot be changed there; absent: none. */
  readonly fixedModules?: readonly string[]
}

/** @throws AdapterError `too_large` or `unsupported` where one of the modules, by path, is beyond the limits */
export function checkModuleLimits(
  modules: ReadonlyMap<string, { readonly rank: number }>,
  { maxRank, fixedModules = [] }: ModuleLimits,
): void {
  const rank = Math.max(...Array.from(modules.values(), (module) => module.rank))
  if (rank > maxRank) {
    throw new AdapterError(
      'too_large',
      `The adapter has rank ${rank} and the operator allows ${maxRank}; train with a smaller r or publish with --shrink-rank ${maxRank}.`,
    )
  }
  const fixed = [...modules.keys()].find((path) => fixedModules.includes(targetName(path)))
  if (fixed !== undefined) {
    throw new AdapterError(
      'unsupported',
      `The adapter changes ${fixed}, which the engine that serves this base model cannot change; train it without that target.`,
    )
  }
}
