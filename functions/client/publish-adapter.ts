// Publishing: whatever some project saved becomes a canonical delta, is checked, uploaded under its digest, and proven to act.
// Knows no terminal, no page and no file system. Invariant: nothing is uploaded before all checks have passed, and no name
// that is in use points at a version that has not been proven to act.
import * as z from 'zod/mini'
import type { BaseModel } from '../../adapters/base-model.ts'
import { encodeDeltaStream } from '../../adapters/canonical.ts'
import type { DeltaDtype } from '../../adapters/delta.ts'
import { storedAs } from '../../adapters/delta-source.ts'
import type { FileSet } from '../../adapters/file-set.ts'
import { importAdapter } from '../../adapters/import-adapter.ts'
import type { ImportOptions } from '../../adapters/import-options.ts'
import { shrinkRank } from '../../adapters/shrink-rank.ts'
import { type AdapterReport, verifyAdapter } from '../../adapters/verify.ts'
import { BackendInfo } from '../../gpu-backend/protocol.ts'
import { checkChatTemplate } from './check-chat-template.ts'
import { ProbeFailure, type ProbeReport, probeAdapter } from './probe.ts'
import type { PublishHost } from './publish-host.ts'

export type PublishPhase = 'reading' | 'shrinking' | 'checking' | 'uploading' | 'probing'

export interface PublishRequest {
  readonly files: FileSet
  readonly tenant: string
  readonly name: string
  /** Where it is not given: what a canonical file has, or f32. */
  readonly dtype?: DeltaDtype | undefined
  /** Ranks above it are approximated. */
  readonly shrinkRank?: number | undefined
  /** What the files may lack: see ImportOptions. */
  readonly facts?: Omit<ImportOptions, 'base'>
  /** False: publish without asking the backend whether the adapter has an effect. */
  readonly probe?: boolean
  /** True: store the version but leave the name where it points, for a canary. A name that is new points at it anyway. */
  readonly stage?: boolean
  readonly onProgress?: (phase: PublishPhase, done: number, total: number) => void
}

/** What is printed and stored with the version. */
type PublishReport = AdapterReport & { readonly digest: string; readonly probe?: ProbeReport }

export interface PublishedAdapter {
  /** `tenant/name` */
  readonly model: string
  readonly digest: string
  /** Whether the name points at the version. */
  readonly isNamed: boolean
  readonly report: PublishReport
}

/** Where a version is: nowhere, stored while its name points elsewhere, or under its name. */
export type StoredAt = 'nowhere' | 'beside' | 'named'

/** Publishing came to no end after the upload: `cause` says why, `stored` where that left the version. */
export class UnfinishedPublish extends Error {
  override readonly name = 'UnfinishedPublish'
  readonly stored: StoredAt

  constructor(cause: unknown, model: string, stored: StoredAt) {
    const reason = (cause instanceof Error ? cause.message : String(cause)).replace(/\.?$/, '.')
    // What failed the probe would fail it again.
    const isFinal = cause instanceof ProbeFailure || stored === 'nowhere'
    const left = stored === 'named' ? `${model} is stored and answers already` : 'The version is stored'
    super(isFinal ? reason : `${reason} ${left}, but its publishing came to no end: publish it again.`, { cause })
    this.stored = stored
  }
}

/**
 * Publishes an adapter through the edge and returns what was published. Throws AdapterError (the files), what `host` throws
 * (the edge), and UnfinishedPublish for whatever went wrong after the upload, such as a ProbeFailure (no effect).
 */
export async function publishAdapter(host: PublishHost, request: PublishRequest): Promise<PublishedAdapter> {
  const { tenant, name, onProgress } = request
  const info = await host.read('/v1/base', BackendInfo)
  const { source, dtype, checked } = await prepare(host, request, info)
  const delta = await host.spool(encodeDeltaStream(source, info.base, dtype))
  try {
    const { digest } = delta
    const path = `/v1/adapters/${encodeURIComponent(tenant)}/${encodeURIComponent(name)}`
    // What the name points at before publishing, and its stored versions.
    const published = await host.tryReadAdapter(path, Published)
    // A version that the edge has already, from an earlier or an interrupted publishing, needs no second upload.
    if (published?.versions.some((version) => version.digest === digest) !== true) {
      const onSent = (sent: number) => onProgress?.('uploading', sent, checked.bytes)
      await delta.upload({ path, bytes: checked.bytes, onProgress: onSent })
    }
    const version = { model: `${tenant}/${name}`, digest, path, from: published?.digest ?? digest }
    try {
      return await takeIntoUse(host, request, version, { ...checked, digest }, info.base)
    } catch (error) {
      throw new UnfinishedPublish(error, version.model, await whereIs(host, version))
    }
  } finally {
    await delta.release()
  }
}

/** The delta that the files are, within its limits, and what was found out about it. */
async function prepare(host: PublishHost, request: PublishRequest, info: BackendInfo) {
  const { files, shrinkRank: rank, onProgress } = request
  onProgress?.('reading', 0, 1)
  const imported = await importAdapter(files, { ...request.facts, base: info.base })
  const dtype = storedAs(imported, request.dtype)
  const onShrunk = (done: number, total: number) => onProgress?.('shrinking', done, total)
  const source = rank === undefined ? imported : (await shrinkRank(imported, rank, onShrunk)).source
  onProgress?.('checking', 0, 1)
  const template = source.metadata.chatTemplate
  if (template !== undefined) await checkChatTemplate(template, host.renderTemplate)
  const checked = await verifyAdapter(source, info.base, dtype, {
    maxRank: info.max_rank,
    fixedModules: info.fixed_modules,
    maxBytes: info.max_delta_bytes,
  })
  return { source, dtype, checked }
}

const Published = z.object({
  digest: z.string(),
  report: z.unknown(),
  versions: z.array(z.object({ digest: z.string() })),
})

/** Whether the name was made for this version by a publishing that was interrupted before its report was stored. */
function isUnproven({ report, versions }: z.infer<typeof Published>, digest: string): boolean {
  return report === null && versions.every((version) => version.digest === digest)
}

interface StoredVersion {
  readonly model: string
  readonly digest: string
  readonly path: string
  /** What the name pointed at before; a name that is new points at its first version from the beginning. */
  readonly from: string
}

/** Proves the version, stores its report, and lets the name point at it. */
async function takeIntoUse(
  host: PublishHost,
  request: PublishRequest,
  version: StoredVersion,
  checked: PublishReport,
  base: BaseModel,
): Promise<PublishedAdapter> {
  const { model, digest, path, from } = version
  const report = { ...checked, ...(await proveEffect(host, request, version, base)) }
  await host.call(`${path}/versions/${digest}/report`, { method: 'PUT', body: JSON.stringify(report) })
  const isNamed = (await host.read(path, Published)).digest === digest
  if (isNamed || request.stage) return { model, digest, isNamed, report }
  // Refused where somebody else moved the name meanwhile: neither publisher overwrites the other's move unseen.
  await host.call(`${path}/alias`, { method: 'PUT', body: JSON.stringify({ digest, from }) })
  return { model, digest, isNamed: true, report }
}

/** Probes the version itself, before the name points at it; a name that was made for it goes where it fails. */
async function proveEffect(
  host: PublishHost,
  { probe, onProgress }: PublishRequest,
  { model, digest, path }: StoredVersion,
  base: BaseModel,
): Promise<{ probe?: ProbeReport }> {
  if (probe === false) return {}
  onProgress?.('probing', 0, 1)
  try {
    return { probe: await probeAdapter(host.call, `${model}@${digest}`, digest, base.name) }
  } catch (error) {
    // A backend that cannot be reached proves nothing: what was uploaded waits for the next publishing.
    if (!(error instanceof ProbeFailure)) throw error
    // Read now: others may have published under the name while this uploaded and was probed.
    const stored = await host.tryReadAdapter(path, Published).catch(() => undefined)
    if (stored && isUnproven(stored, digest)) await host.call(path, { method: 'DELETE' })
    throw error
  }
}

/** Read, where it can be: others may have moved or removed the name meanwhile. */
async function whereIs(host: PublishHost, { digest, path, from }: StoredVersion): Promise<StoredAt> {
  const now = await host.tryReadAdapter(path, Published).catch(() => ({ digest: from }))
  if (!now) return 'nowhere'
  return now.digest === digest ? 'named' : 'beside'
}
