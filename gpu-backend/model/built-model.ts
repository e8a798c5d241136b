// A base model made ready to run: its identity, and its graph on disk, built once for a fingerprint and an option.
// Knows nothing of running it.
import { createHash } from 'node:crypto'
import { createReadStream, existsSync, readFileSync, statSync } from 'node:fs'
import { mkdir, open, rename, rm, writeFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { pipeline } from 'node:stream/promises'
import type { BaseModel } from '../../adapters/base-model.ts'
import { buildGraph, type DeltaProduct, WEIGHTS_FILE } from './graph.ts'
import type { ModelConfig } from './model-config.ts'
import type { ModelSource } from './model-source.ts'
import { encodeModel } from './onnx-file.ts'
import type { WeightFormat } from './weight-formats.ts'

/** Changes whenever the builder makes a different graph, so that an old one on disk is not used. */
const GRAPH_VERSION = 6

/** Identity and dimensions of the model that clients know as `name`; files' hashes are kept in `cacheDir`. */
export async function identify(source: ModelSource, name: string, cacheDir: string): Promise<BaseModel> {
  const { config } = source
  return {
    fingerprint: await fingerprintOf(source.files, config, cacheDir),
    name,
    architecture: config.modelType,
    layers: config.layers,
    hidden_size: config.hiddenSize,
    intermediate_size: config.intermediateSize,
    heads: config.heads,
    kv_heads: config.kvHeads,
    head_dim: config.headDim,
    vocab_size: config.vocabSize,
    tied_embeddings: config.tiedEmbeddings,
  }
}

/** sha256 over the weight files' hashes and the configuration that gives them meaning. */
async function fingerprintOf(files: readonly string[], config: ModelConfig, cacheDir: string): Promise<string> {
  const hash = createHash('sha256').update(JSON.stringify(config))
  for (const file of files) hash.update(await fileHash(file, cacheDir))
  return `sha256:${hash.digest('hex')}`
}

/** sha256 of a file, remembered by its path, size and time. */
async function fileHash(file: string, cacheDir: string): Promise<string> {
  const { size, mtimeMs } = statSync(file)
  const key = createHash('sha256')
    .update(`${resolve(file)}\n${size}\n${mtimeMs}`)
    .digest('hex')
  const kept = join(cacheDir, 'hashes', key)
  if (existsSync(kept)) return readFileSync(kept, 'utf8')
  const hash = createHash('sha256')
  await pipeline(createReadStream(file, { highWaterMark: 1 << 20 }), hash)
  const hex = hash.digest('hex')
  await mkdir(join(cacheDir, 'hashes'), { recursive: true })
  await writeFile(kept, hex)
  return hex
}

/**
 * The path of the model's ONNX graph for `format` and `positions` of context, built in `cacheDir` where it is not there yet.
 * @throws StartupError when the weights do not fit the configuration
 */
export async function graphPath(
  source: ModelSource,
  fingerprint: string,
  format: WeightFormat,
  positions: number,
  deltaProduct: DeltaProduct,
  cacheDir: string,
): Promise<string> {
  const id = `${fingerprint.slice('sha256:'.length, 'sha256:'.length + 16)}-${format}-${positions}-${deltaProduct}-v${GRAPH_VERSION}`
  const target = join(cacheDir, 'graphs', id)
  const path = join(target, 'model.onnx')
  if (existsSync(path)) return path
  const weights = await source.openWeights()
  const building = `${target}.${process.pid}.building`
  await mkdir(building, { recursive: true })
  const file = await open(join(building, WEIGHTS_FILE), 'w')
  try {
    const graph = await buildGraph(source.config, weights, format, positions, deltaProduct, async (bytes) => {
      await file.writeFile(bytes)
    })
    await writeFile(join(building, 'model.onnx'), encodeModel(graph, WEIGHTS_FILE))
    // Another process may have built the same graph meanwhile: either one is right.
    await rename(building, target).catch((error: NodeJS.ErrnoException) => {
      if (!existsSync(path)) throw error
    })
  } finally {
    await file.close()
    await weights.close()
    await rm(building, { recursive: true, force: true })
  }
  return path
}
