// Publishing: whatever some project saved becomes a canonical delta, is checked, uploaded under its digest, and proven to act.
// Knows no terminal: it returns facts and reports progress. Invariant: nothing is uploaded before all checks have passed.
import { createHash } from 'node:crypto'
import { mkdtemp, open, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { BaseModel } from '../adapters/base-model.ts'
import { type DeltaDtype, encodeDeltaStream, MAX_RANK } from '../adapters/canonical.ts'
import type { DeltaSource } from '../adapters/delta-source.ts'
import type { FileSet } from '../adapters/file-set.ts'
import { importAdapter } from '../adapters/import-adapter.ts'
import type { ImportOptions } from '../adapters/import-options.ts'
import { shrinkRank } from '../adapters/shrink-rank.ts'
import { type AdapterReport, verifyAdapter } from '../adapters/verify.ts'
import { BackendInfo } from '../gpu-backend/protocol.ts'
import { checkChatTemplate } from './check-chat-template.ts'
import { callEdge, callEdgeJson, type EdgeAddress, uploadToEdge } from './edge-client.ts'

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
  readonly onProgress?: (phase: PublishPhase, done: number, total: number) => void
}

export interface PublishedAdapter {
  /** `tenant/name` */
  readonly model: string
  readonly digest: string
  readonly report: AdapterReport & { readonly digest: string }
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
  if (source.metadata.chatTemplate !== undefined) checkChatTemplate(source.metadata.chatTemplate)
  const checked = await verifyAdapter(source, info.base, dtype, { maxRank: MAX_RANK, maxBytes: info.max_delta_bytes })
  const folder = await mkdtemp(join(tmpdir(), 'polylora-'))
  try {
    const file = join(folder, 'delta.safetensors')
    const digest = await writeDelta(file, source, info.base, dtype)
    const report = { ...checked, digest }
    const path = `/v1/adapters/${encodeURIComponent(tenant)}/${encodeURIComponent(name)}`
    await uploadToEdge(edge, path, {
      file,
      bytes: report.bytes,
      headers: { 'x-polylora-digest': digest },
      onProgress: (sent) => onProgress?.('uploading', sent, report.bytes),
    })
    await callEdge(edge, `${path}/versions/${digest}/report`, { method: 'PUT', body: JSON.stringify(report) })
    return { model: `${tenant}/${name}`, digest, report }
  } finally {
    await rm(folder, { recursive: true, force: true })
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
