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
  readonly report: PublishReport
}

/** The version is stored, but it could not be found out whether it acts; `cause` says why. */
export class Unproven extends Error {
  override readonly name = 'Unproven'
  /** Whether its name points at it all the same, because it is new. */
  readonly isNamed: boolean

  constructor(cause: unknown, model: string, isNamed: boolean) {
    const reason = (cause instanceof Error ? cause.message : String(cause)).replace(/\.?$/, '.')
    const stored = isNamed ? `${model} is stored and answers already` : 'The version is stored'
    super(`${reason} ${stored}, but was not tested: publish it again.`, { cause })
    this.isNamed = isNamed
  }
}

/**
 * Publishes an adapter through the edge and returns what was published. Throws AdapterError (the files), ProbeFailure (no
 * effect), Unproven (not tested), and what `host` throws (the edge).
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
    const model = `${tenant}/${name}`
    const proof = await proveEffect(host, request, { model, digest, path }, info.base)
    const report = { ...checked, digest, ...proof }
    await host.call(`${path}/versions/${digest}/report`, { method: 'PUT', body: JSON.stringify(report) })
    // A name that is new points at its first version from the beginning.
    const from = published?.digest ?? digest
    if (!request.stage && (await host.read(path, Published)).digest !== digest) {
      // Refused where somebody else moved the name meanwhile: neither publisher overwrites the other's move unseen.
      const body = JSON.stringify({ digest, from })
      await host.call(`${path}/alias`, { method: 'PUT', body })
    }
    return { model, digest, report }
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
}

/**
 * Probes the version itself, before the name points at it; a name that was made for it goes when the proof fails.
 * @throws ProbeFailure, or Unproven where nothing could be found out
 */
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
    // Read now: others may have published under the name while this uploaded and was probed.
    const stored = await host.tryReadAdapter(path, Published).catch(() => undefined)
    if (error instanceof ProbeFailure) {
      if (stored && isUnproven(stored, digest)) await host.call(path, { method: 'DELETE' })
      throw error
    }
    // A backend that cannot be reached proves nothing: what was uploaded waits for the next publishing.
    throw new Unproven(error, model, stored?.digest === digest && stored.report === null)
  }
}
