// What one isolate remembers between requests: the checked configuration, recent keys, the state of the backends.
// All of it may be lost at any time without harm.
import type { BrowserModel } from '../gpu-backend/browser/manifest.ts'
import { Authenticator } from './auth/api-key.ts'
import { type Bindings, type Config, readConfig } from './env.ts'
import type { AliasRow } from './registry/adapters.ts'
import { CachedObjects } from './registry/cached-objects.ts'
import type { Folder, ObjectStore } from './registry/objects.ts'
import { withNamedFailures } from './registry/storage-failure.ts'
import { Remembered } from './remembered.ts'
import { Backends } from './router/backends.ts'

const MAX_ALIASES = 50_000
/** One for each base: there are two of them while it is changed. */
const MAX_BROWSER_MODELS = 4

export interface Edge {
  readonly config: Config
  readonly authenticator: Authenticator
  readonly backends: Backends
  /** What names point at, by `tenant/name`, and pinned versions, by `tenant/name@digest`. */
  readonly aliases: Remembered<AliasRow>
  /** Customers' delta files. */
  readonly objects: ObjectStore
  /** The same objects, as the backends are given them. */
  readonly cachedObjects: CachedObjects
  /** The base model's files for browsers, and which they are, by the base's fingerprint. */
  readonly browserFiles: ObjectStore
  readonly browserModels: Remembered<BrowserModel>
}

/** A function that gives the isolate's `Edge`, made on first use. The function throws ConfigError as `readConfig` does. */
export function edgeOnce(makeStore: (env: Bindings, folder: Folder) => ObjectStore): (env: Bindings) => Promise<Edge> {
  let edge: Edge | undefined
  return async (env) => {
    if (edge) return edge
    const config = await readConfig(env)
    const objects = withNamedFailures(makeStore(env, 'deltas'))
    edge ??= Object.freeze({
      config,
      authenticator: new Authenticator(),
      backends: new Backends(config.backends),
      aliases: new Remembered<AliasRow>(MAX_ALIASES),
      objects,
      cachedObjects: new CachedObjects(objects),
      browserFiles: withNamedFailures(makeStore(env, 'browser')),
      browserModels: new Remembered<BrowserModel>(MAX_BROWSER_MODELS),
    })
    return edge
  }
}
