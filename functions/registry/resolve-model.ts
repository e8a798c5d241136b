// What the name in `model` means for a caller: an adapter of its own, or the bare base model.
import type { Context } from 'hono'
import type { Digest } from '../../gpu-backend/protocol.ts'
import type { EdgeEnv } from '../edge-env.ts'
import { modelNotFound } from '../errors.ts'
import { type AliasRow, tryGetAlias, tryPinVersion } from './adapters.ts'
import { chooseVersion } from './canary.ts'
import { tryParseAdapterName } from './names.ts'

/** The adapter's name and digest; both null for the bare base model. */
export interface ResolvedModel {
  readonly adapter: string | null
  readonly digest: Digest | null
  /** Fingerprint of the base model that it is, or was made for. */
  readonly base: string
}

/**
 * `tenant/name` means what the name points at, `tenant/name@sha256:…` one version, whether the name points at it or not.
 * `unit` decides on which side of a canary the request falls: the same unit always on the same.
 * @throws ApiError 404, the same for a model that doesn't exist and for another tenant's
 */
export async function resolveModel(c: Context<EdgeEnv>, model: string, unit: string): Promise<ResolvedModel> {
  const own = await tryResolveAlias(c, model)
  if (own) {
    const { alias } = own
    const digest = chooseVersion(alias, unit)
    return { adapter: own.name, digest, base: (digest === alias.canary_digest && alias.canary_base) || alias.base }
  }
  const { base } = await c.var.edge.backends.info(Date.now())
  if (model === base.name) return { adapter: null, digest: null, base: base.fingerprint }
  throw modelNotFound(model)
}

/** The alias that `model` names, where it is one of the caller's own; nothing is looked up for any other name. */
export async function tryResolveAlias(
  c: Context<EdgeEnv>,
  model: string,
): Promise<{ name: string; alias: AliasRow } | undefined> {
  const name = tryParseAdapterName(model)
  if (name?.tenant !== c.var.principal.tenant) return undefined
  const { version } = name
  const load = () => (version === undefined ? tryGetAlias(c.env.DB, name) : tryPinVersion(c.env.DB, name, version))
  const alias = await c.var.edge.aliases.get(model, Date.now(), load, c.executionCtx)
  return alias && { name: name.name, alias }
}
