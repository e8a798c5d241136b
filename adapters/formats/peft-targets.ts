// What adapter_config.json says was trained, compared with the modules that have tensors.
// Knows no tensors. Invariant: it changes nothing, since the tensors win; each disagreement becomes a notice.
import { AdapterError, listed, quote } from '../errors.ts'
import { fullMatcher } from '../python-regex.ts'
import type { PeftConfig } from './peft-config.ts'

/** `paths`: of every module that has tensors, as PEFT names them, without its prefix. */
export function targetNotices(config: PeftConfig, paths: readonly string[]): string[] {
  const notices: string[] = []
  const { targetModules, excludeModules, layers } = config
  const compare = (field: string, leavesOut: () => (path: string) => boolean) => {
    try {
      const left = paths.filter(leavesOut())
      if (left.length === 0) return
      notices.push(
        `${left.length} modules (first ${quote(left[0]!)}) have tensors that PEFT would not load, by ${field} of adapter_config.json; here they are applied.`,
      )
    } catch (error) {
      if (!(error instanceof AdapterError)) throw error
      notices.push(`${field} could not be compared with the tensors: ${error.message}`)
    }
  }
  const resolved = targetModules === undefined || [targetModules].flat().includes('all-linear')
  if (!resolved) {
    compare('target_modules', () => {
      const targets = named(targetModules, 'target_modules')
      // A tied head gets its pair from the embedding; PEFT takes it off the list.
      return (path) => !targets(path) && !(config.tiesWeights && path === 'lm_head')
    })
  }
  if (excludeModules !== undefined) compare('exclude_modules', () => named(excludeModules, 'exclude_modules'))
  if (layers !== undefined) {
    // A whole path in target_modules, such as `lm_head`, is meant wherever it lies.
    const whole = new Set([targetModules ?? []].flat())
    const layerOf = (path: string) => Number(/(?:^|\.)layers\.(\d+)\./.exec(path)?.[1])
    compare('layers_to_transform', () => (path) => !whole.has(path) && !layers.has(layerOf(path)))
  }
  if (!resolved && typeof targetModules !== 'string') {
    const shown = new Set(paths.flatMap(endings))
    const excluded = new Set([excludeModules ?? []].flat())
    const unused = targetModules.filter((target) => !shown.has(target) && !excluded.has(target))
    if (unused.length > 0)
      notices.push(`adapter_config.json targets ${listed(unused)}, for which the file has no tensors.`)
  }
  return notices
}

/** As PEFT reads target_modules and exclude_modules: names that paths end with, or one pattern for whole paths. */
function named(names: readonly string[] | string, field: string): (path: string) => boolean {
  if (typeof names === 'string') return fullMatcher(names, `adapter_config.json ${field}`)
  const set = new Set(names)
  return (path) => endings(path).some((ending) => set.has(ending))
}

/** `a.b.c`, `b.c` and `c` of `a.b.c`. */
function endings(path: string): string[] {
  const words = path.split('.')
  return words.map((_, i) => words.slice(i).join('.'))
}
