// A base model in one GGUF file: its metadata as a configuration, its tensors under their Hugging Face names.
// Names and the q/k row order follow llama.cpp's converter; the file's own quantisation is undone, not kept.
import { existsSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { type GgufHeader, type GgufValue, readGgufHeader } from '../../adapters/gguf.ts'
import { StartupError } from '../errors.ts'
import { openDiskFile } from './disk-file.ts'
import { dequantize, GGML_TYPES } from './gguf-blocks.ts'
import { ggufTokenizer } from './gguf-tokenizer.ts'
import { tokenizerFiles } from './hugging-face-dir.ts'
import { type ModelConfig, parseModelConfig } from './model-config.ts'
import { checkShape, type ModelSource, type Weights } from './model-source.ts'

/** GGUF architecture -> model_type, and whether the converter interleaved the rows of q and k. */
const ARCHITECTURES: Readonly<Record<string, { modelType: string; interleaved: boolean }>> = {
  llama: { modelType: 'llama', interleaved: true },
  smollm3: { modelType: 'smollm3', interleaved: true },
  qwen2: { modelType: 'qwen2', interleaved: false },
  qwen3: { modelType: 'qwen3', interleaved: false },
}

/** @throws StartupError naming what the file lacks or what is not supported */
export async function openGgufModel(path: string): Promise<ModelSource> {
  const header = await readHeader(path)
  const architecture = String(header.metadata.get('general.architecture'))
  const known = ARCHITECTURES[architecture]
  if (!known) {
    throw new StartupError(
      `${path}: general.architecture = "${architecture}" is not supported; supported are ${Object.keys(ARCHITECTURES).join(', ')}.`,
    )
  }
  const config = ggufConfig(path, header, architecture, known.modelType)
  // Files beside the GGUF win: they are the model's own, the metadata a converter's account of them.
  const beside = existsSync(join(dirname(path), 'tokenizer.json'))
  const tokenizer = beside
    ? tokenizerFiles(dirname(path), config.eosTokenIds)
    : ggufTokenizer(path, header, config.eosTokenIds)
  return {
    config,
    tokenizer,
    files: [path],
    openWeights: () => openGgufWeights(path, header, config, known.interleaved),
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

function ggufConfig(
  path: string,
  { metadata, tensors }: GgufHeader,
  architecture: string,
  modelType: string,
): ModelConfig {
  const get = (key: string): GgufValue | undefined => metadata.get(`${architecture}.${key}`)
  const scaling = get('rope.scaling.type')
  if (tensors.has('rope_freqs.weight')) {
    throw new StartupError(
      `${path}: the tensor rope_freqs.weight (llama3 rope scaling) is not supported in GGUF; use the Hugging Face files.`,
    )
  }
  const layers = get('block_count')
  return parseModelConfig(
    {
      model_type: modelType,
      vocab_size:
        (metadata.get('tokenizer.ggml.tokens') as readonly GgufValue[] | undefined)?.length ?? get('vocab_size'),
      hidden_size: get('embedding_length'),
      num_hidden_layers: layers,
      num_attention_heads: get('attention.head_count'),
      num_key_value_heads: get('attention.head_count_kv'),
      head_dim: get('attention.key_length'),
      intermediate_size: get('feed_forward_length'),
      max_position_embeddings: get('context_length'),
      rope_theta: get('rope.freq_base') ?? 10_000,
      rope_scaling:
        scaling === undefined || scaling === 'none'
          ? null
          : {
              rope_type: scaling,
              factor: get('rope.scaling.factor'),
              original_max_position_embeddings: get('rope.scaling.original_context_length'),
            },
      rms_norm_eps: get('attention.layer_norm_rms_epsilon'),
      tie_word_embeddings: !tensors.has('output.weight'),
      attention_bias: modelType === 'llama' && tensors.has('blk.0.attn_q.bias'),
      sliding_window: get('attention.sliding_window') || null,
      no_rope_layers:
        modelType === 'smollm3'
          ? Array.from({ length: Number(layers) }, (_, layer) => ((layer + 1) % 4 === 0 ? 0 : 1))
          : null,
      bos_token_id: metadata.get('tokenizer.ggml.bos_token_id'),
      eos_token_id: metadata.get('tokenizer.ggml.eos_token_id'),
    },
    path,
  )
}

const MODULES: Readonly<Record<string, string>> = {
  'self_attn.q_proj': 'attn_q',
  'self_attn.k_proj': 'attn_k',
  'self_attn.v_proj': 'attn_v',
  'self_attn.o_proj': 'attn_output',
  'self_attn.q_norm': 'attn_q_norm',
  'self_attn.k_norm': 'attn_k_norm',
  'mlp.gate_proj': 'ffn_gate',
  'mlp.up_proj': 'ffn_up',
  'mlp.down_proj': 'ffn_down',
  input_layernorm: 'attn_norm',
  post_attention_layernorm: 'ffn_norm',
}
const TOP_LEVEL: Readonly<Record<string, string>> = {
  'model.embed_tokens.weight': 'token_embd.weight',
  'model.norm.weight': 'output_norm.weight',
  'lm_head.weight': 'output.weight',
}

/** The tensor's name in a GGUF file, for its Hugging Face name. */
export function ggufName(name: string): string {
  const [, layer, module, kind] = /^model\.layers\.(\d+)\.(.+)\.(weight|bias)$/.exec(name) ?? []
  return TOP_LEVEL[name] ?? `blk.${layer}.${MODULES[module ?? '']}.${kind}`
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
      const { type, start } = tensor!
      const format = GGML_TYPES.get(type)
      if (!format) {
        const names = Array.from(GGML_TYPES.values(), (known) => known.name).join(', ')
        throw new StartupError(
          `${path}: tensor "${tensor!.name}" has GGML type ${type}, which is not supported; supported are ${names}.`,
        )
      }
      const count = shape.reduce((product, size) => product * size, 1)
      const values = dequantize(await file.read(start, start + (count / format.values) * format.bytes), format, count)
      const heads = name.includes('q_proj') ? config.heads : name.includes('k_proj') ? config.kvHeads : 0
      return interleaved && heads > 0 ? toHalves(values, heads, config.headDim) : values
    },
    close: () => handle.close(),
  }
}

/** Undoes the converter's order of a head's rows: pairs (2p, 2p+1) back to halves (p, p + d/2). */
function toHalves(values: Float32Array, heads: number, headDim: number): Float32Array {
  const columns = values.length / (heads * headDim)
  const half = headDim / 2
  const out = new Float32Array(values.length)
  for (let head = 0; head < heads; head++) {
    for (let row = 0; row < headDim; row++) {
      const from = (head * headDim + row) * columns
      const to = (head * headDim + (row & 1) * half + (row >> 1)) * columns
      out.set(values.subarray(from, from + columns), to)
    }
  }
  return out
}
