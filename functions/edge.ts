// What one isolate remembers between requests: the checked configuration, recent keys, the state of the backends.
// All of it may be lost at any time without harm.
import { Authenticator } from './auth/api-key.ts'
import { type Bindings, type Config, readConfig } from './env.ts'
import type { AliasRow } from './registry/adapters.ts'
import type { ObjectStore } from './registry/objects.ts'
import { Remembered } from './remembered.ts'
import { Backends } from './router/backends.ts'

/** So long another isolate may serve the version before. */
const REMEMBER_ALIASES = { freshMs: 5_000, renewAfterMs: 2_500, maxEntries: 50_000 }

export interface Edge {
  readonly config: Config
  readonly authenticator: Authenticator
  readonly backends: Backends
  /** What names point at, by `tenant/name`. */
  readonly aliases: Remembered<AliasRow>
  readonly objects: ObjectStore
}

/** A function that gives the isolate's `Edge`, made on first use. The function throws ConfigError as `readConfig` does. */
export function edgeOnce(makeStore: (env: Bindings) => ObjectStore): (env: Bindings) => Promise<Edge> {
  let edge: Edge | undefined
  return async (env) => {
    if (edge) return edge
    const config = await readConfig(env)
    edge ??= Object.freeze({
      config,
      authenticator: new Authenticator(),
      backends: new Backends(config.backends),
      aliases: new Remembered<AliasRow>(REMEMBER_ALIASES),
      objects: makeStore(env),
    })
    return edge
  }
}
