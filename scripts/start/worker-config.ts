// The Worker's configuration, wrangler.toml, read by wrangler itself: whoever runs the Worker without `wrangler dev` has what is
// deployed from here, and nothing of it is written a second time.
import { fileURLToPath } from 'node:url'
import type { Unstable_Config as WorkerConfig } from 'wrangler'

const WRANGLER_TOML = fileURLToPath(new URL('../../wrangler.toml', import.meta.url))

/** As it is at the top level, or in an environment. */
export async function readWorkerConfig(env?: string): Promise<WorkerConfig> {
  const { unstable_readConfig: readConfig } = await import('wrangler')
  return readConfig({ config: WRANGLER_TOML, env }, { hideWarnings: true })
}

/** The runtime's date and flags, in Miniflare's words. */
export async function readRuntime(): Promise<{ compatibilityDate: string; compatibilityFlags: string[] }> {
  const { compatibility_date: date, compatibility_flags: flags } = await readWorkerConfig()
  if (date === undefined) throw new Error(`${WRANGLER_TOML} has no compatibility_date: give it one.`)
  return { compatibilityDate: date, compatibilityFlags: flags }
}
