// A base model in one GGUF file: its metadata as a configuration, its tensors under their Hugging Face names.
// Names and the q/k row order follow llama.cpp's converter; the file's own quantisation is undone, not kept.
import { existsSync, statSync } from 'node:fs'
import { dirname, join } from 'node:path'
import type { AdapterFile } from '../../adapters/file-set.ts'
import { type GgufHeader, type GgufTensor, readGgufHeader } from '../../adapters/gguf.ts'
import { type BlockFormat, dequantize, GGML_TYPES } from '../../adapters/gguf-blocks.ts'
import { deinterleaveRows, GGUF_INTERLEAVED, rotaryHeads } from '../../adapters/rope-order.ts'
import { countValues } from '../../adapters/source-tensor.ts'
import { StartupError } from '../errors.ts'
import { showValue } from './config-json.ts'
import { openDiskFile } from './disk-file.ts'
import { ggufConfig } from './gguf-config.ts'
import { ggufName, isKnownGgufTensor, ROPE_DIVISORS } from './gguf-names.ts'
import { ggufTokenizer, withGgufTokens } from './gguf-tokenizer.ts'
import { tokenizerFiles } from './hugging-face-dir.ts'
import type { ModelConfig } from './model-config.ts'
import { checkShape, type ModelSource, type Weights } from './model-source.ts'

/** @throws StartupError naming what the file lacks or what is not supported */
export async function openGgufModel(path: string): Promise<ModelSource> {
  const header = await readHeader(path)
  const architecture = String(header.metadata.get('general.architecture') ?? '')
  const interleaved = GGUF_INTERLEAVED.get(architecture)
  if (interleaved === undefined) {
    throw new StartupError(
      `${path}: general.architecture = ${showValue(architecture)} is not supported; supported are ${[...GGUF_INTERLEAVED.keys()].join(', ')}.`,
    )
  }
  checkTensors(path, header, architecture)
  const config = ggufConfig(path, header, await ropeDivisors(path, header))
  // Files beside the GGUF win in what they say: they are the model's own, the metadata a converter's account of them.
  const beside = existsSync(join(dirname(path), 'tokenizer.json'))
  const tokenizer = beside
    ? withGgufTokens(path, header, tokenizerFiles(dirname(path), config.eosTokenIds))
    : ggufTokenizer(path, header, config.eosTokenIds)
  return {
    config,
    tokenizer,
    files: [path],
    openWeights: () => openGgufWeights(path, header, config, interleaved),
  }
}

async function readHeader(path: string): Promise<GgufHeader> {
  const { file, handle } = await openDiskFile(path)
  try {
    return await readGgufHeader(file)
  } catch (error) {
    throw new StartupError(error instanceof Error ? error.message : String(error))
  } finally {
    await handle.close()
  }
}

async function openGgufWeights(
  path: string,
  header: GgufHeader,
  config: ModelConfig,
  interleaved: boolean,
): Promise<Weights> {
  const { file, handle } = await openDiskFile(path)
  return {
    has: (name) => header.tensors.has(ggufName(name)),
    load: async (name, shape) => {
      const tensor = header.tensors.get(ggufName(name))
      checkShape(path, name, tensor && [...tensor.dims].reverse(), shape)
      const values = await readTensor(file, tensor!)
      const heads = rotaryHeads(name, { heads: config.heads, kv_heads: config.kvHeads })
      return interleaved && heads > 0 ? deinterleaveRows(values, heads, config.headDim) : values
    },
    close: () => handle.close(),
  }
}

/** Every tensor is one that the graph reads, of a type that is decoded, and whole. */
function checkTensors(path: string, { tensors }: GgufHeader, architecture: string): void {
  const { size } = statSync(path)
  for (const tensor of tensors.values()) {
    const quoted = `tensor "${tensor.name}"`
    if (!isKnownGgufTensor(tensor.name)) {
      throw new StartupError(`${path}: the ${quoted} is not supported, so this is no plain ${architecture} model.`)
    }
    const format = GGML_TYPES.get(tensor.type)
    if (!format) {
      const names = Array.from(GGML_TYPES.values(), ({ name }) => name).join(', ')
      throw new StartupError(
        `${path}: ${quoted} has GGML type ${tensor.type}, which is not supported; supported are ${names}.`,
      )
    }
    const [row = 1] = tensor.dims
    if (row % format.values !== 0) {
      throw new StartupError(
        `${path}: ${quoted} has rows of ${row} values, no whole ${format.name} blocks: it is damaged.`,
      )
    }
    if (tensor.start + tensorBytes(tensor, format) > size) {
      throw new StartupError(`${path} ends inside ${quoted}: it is truncated; download it again.`)
    }
  }
}

function tensorBytes({ dims }: GgufTensor, format: BlockFormat): number {
  return (countValues(dims) / format.values) * format.bytes
}

async function readTensor(file: AdapterFile, tensor: GgufTensor): Promise<Float32Array> {
  const format = GGML_TYPES.get(tensor.type)!
  const bytes = await file.read(tensor.start, tensor.start + tensorBytes(tensor, format))
  return dequantize(bytes, format, countValues(tensor.dims))
}

async function ropeDivisors(path: string, header: GgufHeader): Promise<number[] | undefined> {
  const tensor = header.tensors.get(ROPE_DIVISORS)
  if (!tensor) return undefined
  const { file, handle } = await openDiskFile(path)
  try {
    return [...(await readTensor(file, tensor))]
  } finally {
    await handle.close()
  }
}
