// Who a base model is: a fingerprint of its weights and configuration, and its dimensions.
import { createHash } from 'node:crypto'
import { createReadStream, existsSync, readFileSync, statSync } from 'node:fs'
import { mkdir, writeFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { pipeline } from 'node:stream/promises'
import type { BaseModel } from '../../adapters/base-model.ts'
import type { ModelConfig } from './model-config.ts'
import type { ModelSource } from './model-source.ts'

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

/** The name of a folder for what belongs to one base model: the first 16 digits of its fingerprint. */
export function folderOf(fingerprint: string): string {
  return fingerprint.slice('sha256:'.length, 'sha256:'.length + 16)
}

/** sha256 over the weight files' hashes and the configuration that gives them meaning. */
async function fingerprintOf(files: readonly string[], config: ModelConfig, cacheDir: string): Promise<string> {
  const hash = createHash('sha256').update(JSON.stringify(config))
  for (const file of files) hash.update(await fileHash(file, cacheDir))
  return `sha256:${hash.digest('hex')}`
}

const HASH = /^[0-9a-f]{64}$/

/** sha256 of a file, remembered by its path, size and time. */
async function fileHash(file: string, cacheDir: string): Promise<string> {
  const { size, mtimeMs } = statSync(file)
  const key = createHash('sha256')
    .update(`${resolve(file)}\n${size}\n${mtimeMs}`)
    .digest('hex')
  const kept = join(cacheDir, 'hashes', key)
  const known = existsSync(kept) ? readFileSync(kept, 'utf8') : ''
  // One that a full disk or the end of a process cut short would make this another base model.
  if (HASH.test(known)) return known
  const hash = createHash('sha256')
  await pipeline(createReadStream(file, { highWaterMark: 1 << 20 }), hash)
  const hex = hash.digest('hex')
  await mkdir(join(cacheDir, 'hashes'), { recursive: true })
  await writeFile(kept, hex)
  return hex
}
