// Publishes the base model for browsers: builds its files, uploads those that the edge lacks, then the manifest that names them.
// Invariant: what has arrived is not sent again, in this run or in the next.
import { type Patience, patiently } from '../functions/client/patiently.ts'
import { fewAtOnce } from '../functions/router/few-at-once.ts'
import { BrowserModelState, StoredFile } from '../functions/routes/browser-answers.ts'
import { BrowserModel, type ModelFile, modelFiles } from '../gpu-backend/browser/manifest.ts'
import {
  type BrowserFiles,
  type BrowserModelOptions,
  buildBrowserFiles,
} from '../gpu-backend/engine/onnx/browser-files.ts'
import { backoffMs } from './backoff.ts'
import { CliError } from './cli-error.ts'
import { callEdge, callEdgeJson, type EdgeAddress, tryCallEdgeJson } from './edge-client.ts'
import { edgePatience } from './edge-patience.ts'

export interface PublishedBrowserModel {
  readonly manifest: BrowserModel
  readonly bytes: number
  /** 0 where the edge had everything. */
  readonly uploadedBytes: number
}

interface Settings {
  readonly onProgress?: (uploadedBytes: number, totalBytes: number) => void
  /** Waited after the n-th attempt at a file. */
  readonly retryDelayMs?: (attempt: number) => number
}

/** `edge.apiKey` is the operator's. Throws CliError, or StartupError where the model cannot be used. */
export async function publishBrowserModel(
  edge: EdgeAddress,
  options: BrowserModelOptions,
  { onProgress = () => {}, retryDelayMs = backoffMs }: Settings = {},
): Promise<PublishedBrowserModel> {
  const { manifest, read } = await buildBrowserFiles(options)
  const files = modelFiles(manifest)
  const { base } = await callEdgeJson(edge, '/admin/v1/browser/model', BrowserModelState)
  if (base.fingerprint !== manifest.base.fingerprint) {
    throw new CliError(
      `The backends serve ${base.name}, ${base.fingerprint}; ${options.modelPath} is another model, ${manifest.base.fingerprint}.`,
    )
  }
  const patience = edgePatience(retryDelayMs)
  const isStored = ({ digest, bytes }: ModelFile) =>
    patiently(async () => (await tryCallEdgeJson(edge, pathOf(digest), StoredFile))?.bytes === bytes, patience)
  const stored = await fewAtOnce(files, isStored)
  const missing = files.filter((_, i) => !stored[i])
  await upload(edge, missing, read, { onProgress, patience })
  const init = { method: 'PUT', body: JSON.stringify(manifest) }
  return {
    manifest: await callEdgeJson(edge, '/admin/v1/browser/model', BrowserModel, init),
    bytes: sizeOf(files),
    uploadedBytes: sizeOf(missing),
  }
}

async function upload(
  edge: EdgeAddress,
  files: readonly ModelFile[],
  read: BrowserFiles['read'],
  { onProgress, patience }: Pick<Required<Settings>, 'onProgress'> & { readonly patience: Patience },
): Promise<void> {
  const total = sizeOf(files)
  let done = 0
  for (const { digest, bytes } of files) {
    onProgress(done, total)
    const put = async () => callEdge(edge, pathOf(digest), { method: 'PUT', body: await read(digest) })
    await patiently(put, patience).catch((error: unknown) => {
      throw patience.isPassing(error) ? brokeOff(error as Error, done, total) : error
    })
    done += bytes
  }
  onProgress(done, total)
}

function brokeOff({ message }: Error, done: number, total: number): CliError {
  return new CliError(`${message} ${done} of ${total} bytes have arrived; run it again to go on from there.`, 3)
}

function pathOf(digest: string): string {
  return `/admin/v1/browser/files/${digest}`
}

function sizeOf(files: readonly ModelFile[]): number {
  return files.reduce((total, { bytes }) => total + bytes, 0)
}
