// A base model's directory, opened: configuration, identity and the built graph on disk.
// The graph is built once for a fingerprint and a weight format, then reused. Knows nothing of running it.
import { createHash } from 'node:crypto'
import { createReadStream, existsSync, readFileSync, statSync } from 'node:fs'
import { mkdir, open, rename, rm, writeFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { pipeline } from 'node:stream/promises'
import type { BaseModel } from '../../adapters/base-model.ts'
import { StartupError } from '../errors.ts'
import { buildGraph, type WeightFormat } from './graph.ts'
import { type ModelConfig, parseModelConfig } from './model-config.ts'
import { encodeModel } from './onnx-file.ts'
import { openWeights, weightFiles } from './weights.ts'

export interface BaseModelDir {
  readonly dir: string
  readonly config: ModelConfig
  readonly base: BaseModel
}

/** Changes whenever the builder makes a different graph, so that an old one on disk is not used. */
const GRAPH_VERSION = 1

/**
 * Reads config.json and identifies the weights of the model that clients know as `name`; their hash is kept in `cacheDir` by path, size and time.
 * @throws StartupError when a file is missing, damaged or not supported
 */
export async function openBaseModel(dir: string, name: string, cacheDir: string): Promise<BaseModelDir> {
  const config = parseModelConfig(readJson(join(dir, 'config.json')), join(dir, 'config.json'))
  const fingerprint = await fingerprintOf(dir, config, cacheDir)
  const base: BaseModel = {
    fingerprint,
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
  return { dir, config, base }
}

/** @throws StartupError when the file is missing or is not JSON */
export function readJson(file: string): unknown {
  if (!existsSync(file))
    throw new StartupError(`${file} is missing: the directory must be a model in Hugging Face layout.`)
  try {
    return JSON.parse(readFileSync(file, 'utf8'))
  } catch (error) {
    throw new StartupError(`${file} is not valid JSON (${(error as Error).message}): restore it.`)
  }
}

/** sha256 over the weight files' hashes and the configuration that gives them meaning. */
async function fingerprintOf(dir: string, config: ModelConfig, cacheDir: string): Promise<string> {
  const hash = createHash('sha256').update(JSON.stringify(config))
  for (const file of weightFiles(dir)) hash.update(await fileHash(file, cacheDir))
  return `sha256:${hash.digest('hex')}`
}

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
  model: BaseModelDir,
  format: WeightFormat,
  positions: number,
  cacheDir: string,
): Promise<string> {
  const id = `${model.base.fingerprint.slice(7, 23)}-${format}-${positions}-v${GRAPH_VERSION}`
  const target = join(cacheDir, 'graphs', id)
  const path = join(target, 'model.onnx')
  if (existsSync(path)) return path
  const building = `${target}.${process.pid}.building`
  await mkdir(building, { recursive: true })
  const weights = await openWeights(model.dir)
  const file = await open(join(building, 'weights.bin'), 'w')
  try {
    const graph = await buildGraph(model.config, weights, format, positions, async (bytes) => {
      await file.writeFile(bytes)
    })
    await writeFile(join(building, 'model.onnx'), encodeModel(graph, 'weights.bin'))
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
