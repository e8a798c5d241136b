// Publishing: whatever some project saved becomes a canonical delta, is checked, uploaded under its digest, and proven to act.
// Knows no terminal: it returns facts and reports progress. Invariant: nothing is uploaded before all checks have passed.
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
import { callEdge, callEdgeJson, type EdgeAddress, uploadToEdge } from './edge-client.ts'
import { type ProbeReport, probeAdapter } from './probe.ts'

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
    const publication = { edge, model: `${tenant}/${name}`, path, digest, previous: published?.digest }
    // A version that the edge has already, from an earlier or an interrupted publishing, needs no second upload.
    const stored = published?.versions.some((version) => version.digest === digest) === true
    if (!stored) await upload(publication, file, checked.bytes, request)
    else if (!request.stage) await moveName(publication, publication.previous!, digest)
    // Only what a name points at can be asked.
    const staged = request.stage === true && published !== undefined && published.digest !== digest
    if (!staged) onProgress?.('probing', 0, 1)
    const probe = request.probe === false || staged ? undefined : await probeOrRestore(publication, info.base)
    const report = { ...checked, digest, ...(probe === undefined ? {} : { probe }) }
    await callEdge(edge, `${path}/versions/${digest}/report`, { method: 'PUT', body: JSON.stringify(report) })
    return { model: publication.model, digest, report }
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

async function upload(
  { edge, path, digest }: Publication,
  file: string,
  bytes: number,
  request: PublishRequest,
): Promise<void> {
  await uploadToEdge(edge, request.stage ? `${path}?alias=keep` : path, {
    file,
    bytes,
    headers: { 'x-polylora-digest': digest },
    onProgress: (sent) => request.onProgress?.('uploading', sent, bytes),
  })
}

const Published = z.looseObject({ digest: z.string(), versions: z.array(z.looseObject({ digest: z.string() })) })

/** What the name points at before publishing, and its stored versions; undefined when there is no such name. */
async function tryPublished(edge: EdgeAddress, path: string): Promise<z.infer<typeof Published> | undefined> {
  const response = await callEdge(edge, path, { method: 'GET' }, [404])
  return response.status === 404 ? undefined : Published.parse(await response.json())
}

async function moveName({ edge, path }: Publication, from: string, to: string): Promise<void> {
  if (from === to) return
  await callEdge(edge, `${path}/alias`, { method: 'PUT', body: JSON.stringify({ digest: to, from }) })
}

interface Publication {
  readonly edge: EdgeAddress
  readonly model: string
  readonly path: string
  readonly digest: string
  readonly previous: string | undefined
}

/** Probes what was just published; when that fails, the name points again at what it pointed at before, and the failure goes on. */
async function probeOrRestore(publication: Publication, base: BaseModel): Promise<ProbeReport> {
  const { edge, model, path, digest, previous } = publication
  try {
    return await probeAdapter(edge, model, digest, base.name)
  } catch (error) {
    if (previous === undefined) await callEdge(edge, path, { method: 'DELETE' })
    else await moveName(publication, digest, previous)
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
