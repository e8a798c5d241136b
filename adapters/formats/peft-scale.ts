// The factor s in W + s·B·A of a PEFT adapter: alpha/r, or alpha/√r with rsLoRA, where patterns give some modules their own.
// Follows peft/tuners/lora/{config,layer,model}.py, 0.1 to 0.21. Knows nothing of the tensors but their rank.
// Invariant: where the configuration has another r than the tensors, the tensors win and a notice says so, or it is refused.
import { AdapterError } from '../errors.ts'
import { fullMatchers } from '../python-regex.ts'
import type { PeftConfig } from './peft-config.ts'

/**
 * Gives s by a module's path, as the configuration names it, and its tensors' rank; `notices` hears where these disagree.
 * What it gives throws AdapterError `missing` where alpha is unknown, `mismatch` where it is unknown which r alpha belongs to.
 */
export function peftScale(config: PeftConfig, notices: string[]): (path: string, rank: number) => number {
  const ranks = matchers(config.rankPattern, 'rank_pattern')
  const alphas = matchers(config.alphaPattern, 'alpha_pattern')
  const told = new Set<string>()
  const tell = (text: string, path: string) => {
    if (!told.has(text)) notices.push(`${text} (first at ${path}).`)
    told.add(text)
  }
  return (path, rank) => {
    const rankHit = ranks.find(({ matches }) => matches(path))
    const alphaHit = alphas.find(({ matches }) => matches(path))
    const expected = rankHit?.value ?? config.r
    // The head's factors are the embedding's and have its rank, but PEFT divides by the r that the head itself would have.
    const divisor = config.tiesWeights && path === 'lm_head' ? (expected ?? rank) : rank
    if (expected !== undefined && expected !== divisor) {
      refuseUnknownRank(config, path, rank, expected)
      tell(`adapter_config.json says r ${expected} where the tensors have rank ${rank}; the tensors win`, path)
    }
    // In one joint list a key of rank_pattern hides every other key of alpha_pattern.
    const joint = rankHit === undefined ? alphaHit?.value : config.alphaPattern.get(rankHit.key)
    if (joint !== alphaHit?.value) {
      const rule = config.jointPatterns ? 'as PEFT until 0.13 does' : 'as PEFT since 0.14 does'
      tell(`rank_pattern and alpha_pattern hit the same module by different keys, which is read ${rule}`, path)
    }
    const alpha = (config.jointPatterns ? joint : alphaHit?.value) ?? config.alpha
    if (alpha === undefined) {
      throw new AdapterError(
        'missing',
        'adapter_config.json has no lora_alpha, so the scale is unknown; add it as it was in training.',
      )
    }
    return alpha / (config.rslora ? Math.sqrt(divisor) : divisor)
  }
}

/**
 * A rank that the configuration gives to no module at all. PEFT writes such files (add_weighted_adapter and a padded hot swap
 * change tensors, not r) and cannot load them: alpha belonged to the r that is written, or to the tensors' own.
 */
function refuseUnknownRank(config: PeftConfig, path: string, rank: number, expected: number): void {
  if (rank === config.r || [...config.rankPattern.values()].includes(rank)) return
  throw new AdapterError(
    'mismatch',
    `adapter_config.json says r ${expected} where the tensors of ${path} have rank ${rank}, so PEFT cannot load them and their scale is unknown; correct r and lora_alpha, or rank_pattern and alpha_pattern.`,
  )
}

interface Matcher {
  readonly key: string
  readonly value: number
  matches(path: string): boolean
}

/** PEFT since 0.15: re.match of `(.*\.)?(KEY)$` on the module path, the first hit in the file's order wins. */
function matchers(patterns: ReadonlyMap<string, number>, field: string): Matcher[] {
  // Names are what nearly every key is, one for each module: they mean the same to JavaScript, and none can backtrack.
  const isName = (key: string) => /^\^?(?:\w|\\?\.)+$/.test(key)
  const others = [...patterns.keys()].filter((key) => !isName(key))
  const machines = fullMatchers(
    others.map((key) => `(.*\\.)?(${key})`),
    `adapter_config.json ${field}`,
  )
  return Array.from(patterns, ([key, value]) => {
    // Python's own syntax, such as a named group, is an error to JavaScript.
    if (!isName(key)) return { key, value, matches: machines[others.indexOf(key)]! }
    const name = key.startsWith('^') ? new RegExp(`${key}$`) : new RegExp(`(?:^|\\.)${key}$`)
    return { key, value, matches: (path: string) => name.test(path) }
  })
}
