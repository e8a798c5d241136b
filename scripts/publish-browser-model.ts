// Publishes the base model for browsers: builds its files, uploads those that the edge lacks, then the manifest that names them.
import { BrowserModelState } from '../functions/routes/browser-answers.ts'
import { BrowserModel, modelFiles } from '../gpu-backend/browser/manifest.ts'
import { type BrowserModelOptions, buildBrowserFiles } from '../gpu-backend/engine/onnx/browser-files.ts'
import { CliError } from './cli-error.ts'
import { callEdge, callEdgeJson, type EdgeAddress } from './edge-client.ts'

export interface PublishedBrowserModel {
  readonly manifest: BrowserModel
  readonly bytes: number
  /** 0 where the edge had everything. */
  readonly uploadedBytes: number
}

/** `edge.apiKey` is the operator's. Throws CliError, or StartupError where the model cannot be used. */
export async function publishBrowserModel(
  edge: EdgeAddress,
  options: BrowserModelOptions,
  onProgress: (uploadedBytes: number, totalBytes: number) => void = () => {},
): Promise<PublishedBrowserModel> {
  const { manifest, read } = await buildBrowserFiles(options)
  const files = modelFiles(manifest)
  const { base, model } = await callEdgeJson(edge, '/admin/v1/browser/model', BrowserModelState)
  if (base.fingerprint !== manifest.base.fingerprint) {
    throw new CliError(
      `The backends serve ${base.name}, ${base.fingerprint}; ${options.modelPath} is another model, ${manifest.base.fingerprint}.`,
    )
  }
  const there = new Set(model ? modelFiles(model).map(({ digest }) => digest) : [])
  const missing = files.filter(({ digest }) => !there.has(digest))
  const sum = (some: readonly { readonly bytes: number }[]) => some.reduce((total, { bytes }) => total + bytes, 0)
  let uploadedBytes = 0
  for (const { digest, bytes } of missing) {
    await callEdge(edge, `/admin/v1/browser/files/${digest}`, { method: 'PUT', body: await read(digest) })
    uploadedBytes += bytes
    onProgress(uploadedBytes, sum(missing))
  }
  const init = { method: 'PUT', body: JSON.stringify(manifest) }
  return {
    manifest: await callEdgeJson(edge, '/admin/v1/browser/model', BrowserModel, init),
    bytes: sum(files),
    uploadedBytes,
  }
}
