// What one isolate remembers between requests: the checked configuration, recent keys, the state of the backends.
// All of it may be lost at any time without harm.
import { Authenticator } from './auth/api-key.ts'
import { type Bindings, type Config, readConfig } from './env.ts'
import type { ObjectStore } from './registry/objects.ts'
import { Backends } from './router/backends.ts'

export interface Edge {
  readonly config: Config
  readonly authenticator: Authenticator
  readonly backends: Backends
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
      objects: makeStore(env),
    })
    return edge
  }
}
