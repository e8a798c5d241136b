// Publishing at the edge: a delta's header is checked while its bytes pass through to storage, then the name moves.
// Invariant: all or nothing; a name points at a delta that is stored, canonical, made for this base and within its limits.
import type { Context } from 'hono'
import { checkDeltaHeader, type DeltaHeader } from '../../adapters/canonical.ts'
import { AdapterError } from '../../adapters/errors.ts'
import { checkModuleLimits } from '../../adapters/limits.ts'
import { headerEnd, LENGTH_BYTES } from '../../adapters/safetensors.ts'
import type { BackendInfo, Digest } from '../../gpu-backend/protocol.ts'
import { identify } from '../auth/identify.ts'
import type { EdgeEnv } from '../edge-env.ts'
import { ApiError } from '../errors.ts'
import { type AdapterName, fullName } from '../registry/names.ts'
import { DigestMismatch, MAX_DELTA_BYTES } from '../registry/objects.ts'
import { eraseOrphans } from '../registry/orphans.ts'
import {
  abandonVersion,
  beginVersion,
  hasRoom,
  MAX_VERSIONS,
  type NewVersion,
  publishVersion,
} from '../registry/version-claims.ts'
import type { DeltaSummary, PublishedVersion } from './adapter-answers.ts'
import { describeVersion } from './describe-adapter.ts'
import { splitHead } from './split-head.ts'
import { checkBytes } from './upload-headers.ts'

/**
 * The header is parsed in the memory that an isolate has for all its requests. That of 2,500 modules takes some 0.8 MB, and a chat
 * template, escaped, 1.2.
 */
const MAX_HEADER_BYTES = 2 * 1024 * 1024

/** A canonical delta file on its way into storage. */
interface IncomingDelta {
  readonly digest: Digest
  readonly bytes: number
  readonly body: ReadableStream<Uint8Array>
}

/**
 * Checks the header, stores the bytes under their digest and moves the name to them; `?alias=keep` leaves the name where it
 * points. Answers 201. @throws ApiError 400 for another `alias`, 401 where the key has ended meanwhile, 413, 422 for a delta
 * that cannot be served, 409 where the same bytes are being deleted or the tenant has too many versions
 */
export async function publishDelta(c: Context<EdgeEnv>, adapter: AdapterName, delta: IncomingDelta): Promise<Response> {
  const { digest, bytes } = delta
  const keepsAlias = parseAlias(c.req.query('alias'))
  const info = await c.var.edge.backends.info(Date.now())
  checkBytes(bytes, Math.min(info.max_delta_bytes, MAX_DELTA_BYTES), 'delta')
  await requireRoom(c.env.DB, adapter, digest)
  const { header, body } = await checkedDelta(delta.body, bytes, info)
  await identify(c)

  const nowMs = Date.now()
  const version = { ...adapter, digest, bytes, header: JSON.stringify(header), nowMs }
  if (!(await beginVersion(c.env.DB, version))) {
    throw new ApiError(409, 'being_deleted', 'The same bytes are being deleted at this moment: publish again.')
  }
  await store(c, version, body)
  await publish(c, version, keepsAlias)
  const described = describeVersion(adapter, { ...version, created_ms: nowMs })
  return c.json<PublishedVersion, 201>({ ...described, updated_ms: nowMs }, 201)
}

/** Whether the name stays where it points, as for a version that is to be a canary. */
function parseAlias(alias: string | undefined): boolean {
  if (alias === undefined || alias === 'keep') return alias === 'keep'
  const message = `The query's alias is '${alias}': it must be keep, or absent where the name is to move.`
  throw new ApiError(400, 'invalid_value', message, { param: 'alias' })
}

/** @throws ApiError 409 */
async function requireRoom(db: D1Database, adapter: AdapterName, digest: Digest): Promise<void> {
  if (await hasRoom(db, adapter, digest)) return
  const message = `'${adapter.tenant}' has ${MAX_VERSIONS} versions, as many as a tenant may have: delete adapters that are no longer used.`
  throw new ApiError(409, 'too_many_versions', message)
}

async function store(c: Context<EdgeEnv>, version: NewVersion, body: ReadableStream<Uint8Array>): Promise<void> {
  const { digest, bytes } = version
  try {
    await c.var.edge.objects.put(digest, body, bytes)
  } catch (error) {
    await abandonVersion(c.env.DB, version)
    if (!(error instanceof DigestMismatch)) throw error
    throw new ApiError(422, 'digest_mismatch', `The body does not hash to ${digest}: upload it again.`)
  }
}

async function publish(c: Context<EdgeEnv>, version: NewVersion, keepsAlias: boolean): Promise<void> {
  try {
    await identify(c)
    if (await publishVersion(c.env.DB, version, keepsAlias)) return
    throw new ApiError(409, 'being_deleted', `'${fullName(version)}' was deleted during the upload: publish again.`)
  } catch (error) {
    await abandonVersion(c.env.DB, version)
    // The name or its tenant may have been deleted meanwhile: these bytes came too late to be erased with it.
    await eraseOrphans(c.env.DB, c.var.edge.cachedObjects, [version.digest], Date.now())
    throw error
  }
}

/** The delta's header, checked against the base, and its bytes whole again. @throws ApiError 422 */
async function checkedDelta(body: ReadableStream<Uint8Array>, bytes: number, info: BackendInfo) {
  try {
    const { head, body: whole } = await splitHead(body, bytes, LENGTH_BYTES, (first) =>
      headerEnd(first, 'The delta', MAX_HEADER_BYTES),
    )
    const header = checkDeltaHeader(head, bytes, info.base)
    checkModuleLimits(header.modules, { maxRank: info.max_rank, fixedModules: info.fixed_modules })
    return { header: summarise(header), body: whole }
  } catch (error) {
    if (error instanceof AdapterError) throw new ApiError(422, 'invalid_delta', error.message)
    throw error
  }
}

function summarise({ metadata, dtype, rank, modules }: DeltaHeader): DeltaSummary {
  return {
    base: metadata.base,
    source_format: metadata.sourceFormat,
    dtype,
    rank,
    modules: modules.size,
    chat_template: metadata.chatTemplate !== undefined,
  }
}
