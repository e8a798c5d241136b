// Publishing: whatever some project saved becomes a canonical delta, is checked, uploaded under its digest, and proven to act.
// Knows no terminal: it returns facts and reports progress. Invariant: nothing is uploaded before all checks have passed, and no
// name that is in use points at a version that has not been proven to act.
import { createHash } from 'node:crypto'
import { mkdtemp, open, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import * as z from 'zod'
import type { BaseModel } from '../adapters/base-model.ts'
import { type DeltaDtype, encodeDeltaStream } from '../adapters/canonical.ts'
import type { DeltaSource } from '../adapters/delta-source.ts'
import type { FileSet } from '../adapters/file-set.ts'
import { importAdapter } from '../adapters/import-adapter.ts'
import type { ImportOptions } from '../adapters/import-options.ts'
import { shrinkRank } from '../adapters/shrink-rank.ts'
import { type AdapterReport, verifyAdapter } from '../adapters/verify.ts'
import { BackendInfo } from '../gpu-backend/protocol.ts'
import { checkChatTemplate } from './check-chat-template.ts'
import { callEdge, callEdgeJson, type EdgeAddress } from './edge-client.ts'
import { type ProbeReport, probeAdapter } from './probe.ts'
import { type UploadSettings, uploadDelta } from './upload.ts'

export type PublishPhase = 'reading' | 'checking' | 'uploading' | 'probing'

export interface PublishRequest {
  readonly edge: EdgeAddress
  readonly files: FileSet
  readonly tenant: string
  readonly name: string
  readonly dtype?: DeltaDtype
  /** Ranks above it are approximated. */
  readonly shrinkRank?: number | undefined
  /** What the files may lack: see ImportOptions. */
  readonly facts?: Omit<ImportOptions, 'base'>
  /** False: publish without asking the backend whether the adapter has an effect. */
  readonly probe?: boolean
  /** True: store the version but leave the name where it points, for a canary. A name that is new points at it anyway. */
  readonly stage?: boolean
  readonly upload?: UploadSettings
  readonly onProgress?: (phase: PublishPhase, done: number, total: number) => void
}

/** What is printed and stored with the version. */
export type PublishReport = AdapterReport & { readonly digest: string; readonly probe?: ProbeReport }

export interface PublishedAdapter {
  /** `tenant/name` */
  readonly model: string
  readonly digest: string
  readonly report: PublishReport
}

/**
 * Publishes an adapter through the edge and returns what was published. Throws AdapterError (the files), CliError (the edge).
 */
export async function publishAdapter(request: PublishRequest): Promise<PublishedAdapter> {
  const { edge, files, tenant, name, dtype = 'f32', onProgress } = request
  const info = await callEdgeJson(edge, '/v1/base', BackendInfo)
  onProgress?.('reading', 0, 1)
  const imported = await importAdapter(files, { ...request.facts, base: info.base })
  onProgress?.('checking', 0, 1)
  const source = request.shrinkRank === undefined ? imported : (await shrinkRank(imported, request.shrinkRank)).source
  if (source.metadata.chatTemplate !== undefined) await checkChatTemplate(source.metadata.chatTemplate)
  const checked = await verifyAdapter(source, info.base, dtype, {
    maxRank: info.max_rank,
    fixedModules: info.fixed_modules,
    maxBytes: info.max_delta_bytes,
  })
  const folder = await mkdtemp(join(tmpdir(), 'polylora-'))
  try {
    const file = join(folder, 'delta.safetensors')
    const digest = await writeDelta(file, source, info.base, dtype)
    const path = `/v1/adapters/${encodeURIComponent(tenant)}/${encodeURIComponent(name)}`
    const published = await tryPublished(edge, path)
    // A version that the edge has already, from an earlier or an interrupted publishing, needs no second upload.
    if (published?.versions.some((version) => version.digest === digest) !== true) {
      const onSent = (sent: number) => onProgress?.('uploading', sent, checked.bytes)
      // A name that is new has nothing to keep: it points at the version at once, and is removed when the proof fails.
      const moveName = published === undefined
      const delta = { file, bytes: checked.bytes, digest, path, moveName, onProgress: onSent }
      await uploadDelta(edge, delta, request.upload)
    }
    const model = `${tenant}/${name}`
    const report = {
      ...checked,
      digest,
      ...(await proveEffect(request, { model, digest, path, published }, info.base)),
    }
    await callEdge(edge, `${path}/versions/${digest}/report`, { method: 'PUT', body: JSON.stringify(report) })
    if (published !== undefined && published.digest !== digest && !request.stage) {
      await callEdge(edge, `${path}/alias`, { method: 'PUT', body: JSON.stringify({ digest }) })
    }
    return { model, digest, report }
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

const Published = z.looseObject({ digest: z.string(), versions: z.array(z.looseObject({ digest: z.string() })) })

/** What the name points at before publishing, and its stored versions; undefined when there is no such name. */
async function tryPublished(edge: EdgeAddress, path: string): Promise<z.infer<typeof Published> | undefined> {
  const response = await callEdge(edge, path, { method: 'GET' }, [404])
  return response.status === 404 ? undefined : Published.parse(await response.json())
}

interface StoredVersion {
  readonly model: string
  readonly digest: string
  readonly path: string
  readonly published: z.infer<typeof Published> | undefined
}

/** Probes the version itself, before the name points at it; a name that was made for it goes when the proof fails. */
async function proveEffect(
  { edge, probe, onProgress }: PublishRequest,
  { model, digest, path, published }: StoredVersion,
  base: BaseModel,
): Promise<{ probe?: ProbeReport }> {
  if (probe === false) return {}
  onProgress?.('probing', 0, 1)
  try {
    return { probe: await probeAdapter(edge, `${model}@${digest}`, digest, base.name) }
  } catch (error) {
    if (published === undefined) await callEdge(edge, path, { method: 'DELETE' })
    throw error
  }
}

/** Writes the canonical file, one module in memory at a time; returns its digest. Throws AdapterError. */
export async function writeDelta(
  file: string,
  source: DeltaSource,
  base: BaseModel,
  dtype: DeltaDtype,
): Promise<string> {
  const hash = createHash('sha256')
  const handle = await open(file, 'w')
  try {
    for await (const piece of encodeDeltaStream(source, base, dtype)) {
      hash.update(piece)
      await handle.writeFile(piece)
    }
  } finally {
    await handle.close()
  }
  return `sha256:${hash.digest('hex')}`
}
