// The base model as browsers run it, made from the files that the backend runs: the same graph builder, the same weights.
// Knows no edge. Invariant: the manifest's digests are those of the bytes that `read` gives.
import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import { type BrowserModel, type ModelFile, WEIGHTS_PART_BYTES } from '../../browser/manifest.ts'
import { openDiskFile } from '../../model/disk-file.ts'
import { buildGraph, WEIGHTS_FILE } from '../../model/graph.ts'
import { identify } from '../../model/identify.ts'
import { contextOf } from '../../model/model-config.ts'
import { encodeModel } from '../../model/onnx-file.ts'
import { openModelSource } from '../../model/open-model.ts'
import { graphPath } from './built-graph.ts'

export interface BrowserModelOptions {
  /** A Hugging Face directory or a GGUF file. */
  readonly modelPath: string
  readonly weights: BrowserModel['weights']
  /** undefined: as much as the model allows, up to 4096. */
  readonly contextTokens: number | undefined
  /** Where the backend keeps built graphs. */
  readonly cacheDir: string
}

export interface BrowserFiles {
  readonly manifest: BrowserModel
  /** The bytes of one of the manifest's files. */
  read(digest: string): Promise<Uint8Array<ArrayBuffer>>
}

/** @throws StartupError when the model cannot be used */
export async function buildBrowserFiles(options: BrowserModelOptions): Promise<BrowserFiles> {
  const { weights, cacheDir } = options
  const source = await openModelSource(options.modelPath)
  const base = await identify(source, basename(resolve(options.modelPath)), cacheDir)
  const contextTokens = contextOf(source.config, options.contextTokens)
  const graphOptions = { format: weights, positions: contextTokens }
  const wasm = await graphPath(source, base.fingerprint, { ...graphOptions, target: 'wasm' }, cacheDir)
  const weightsPath = join(dirname(wasm), WEIGHTS_FILE)

  const readers = new Map<string, () => Promise<Uint8Array<ArrayBuffer>>>()
  const add = (bytes: Uint8Array<ArrayBuffer>, read = async () => bytes): ModelFile => {
    const digest = `sha256:${createHash('sha256').update(bytes).digest('hex')}`
    readers.set(digest, read)
    return { digest, bytes: bytes.byteLength }
  }
  const parts: ModelFile[] = []
  for (let start = 0; ; start += WEIGHTS_PART_BYTES) {
    const part = await readPart(weightsPath, start)
    if (part.byteLength === 0) break
    parts.push(add(part, () => readPart(weightsPath, start)))
  }
  const manifest: BrowserModel = {
    base,
    weights,
    context_tokens: contextTokens,
    graphs: { wasm: add(new Uint8Array(await readFile(wasm))), webgpu: add(await webgpuGraph()) },
    tokenizer: add(new TextEncoder().encode(JSON.stringify(source.tokenizer))),
    weights_parts: parts,
  }
  return { manifest, read: (digest) => readers.get(digest)!() }

  /** Another graph over the same weights: they lie in the same places, so they are not written again. */
  async function webgpuGraph(): Promise<Uint8Array<ArrayBuffer>> {
    const tensors = await source.openWeights()
    try {
      const graph = await buildGraph(source.config, tensors, { ...graphOptions, target: 'webgpu' }, async () => {})
      return new Uint8Array(encodeModel(graph, WEIGHTS_FILE))
    } finally {
      await tensors.close()
    }
  }
}

/** The part of the file that starts at `start`; empty past its end. */
async function readPart(path: string, start: number): Promise<Uint8Array<ArrayBuffer>> {
  const { file, handle } = await openDiskFile(path)
  try {
    return await file.read(Math.min(start, file.size), Math.min(start + WEIGHTS_PART_BYTES, file.size))
  } finally {
    await handle.close()
  }
}
