// A tiny random Llama in Hugging Face layout, from a seed: quick to load, and real in every other respect.
// Its tokenizer and chat template are those of the embedded model, so that it can be talked to.
import { cpSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type TensorShape, writeHeader } from '../../adapters/safetensors.ts'
import { EMBEDDED_MODEL } from '../../gpu-backend/config.ts'
import { tokenizerFiles } from '../../gpu-backend/model/hugging-face-dir.ts'
import type { TokenizerFiles } from '../../gpu-backend/model/model-source.ts'
import { seededRandom } from './seeded-random.ts'

const TOKENIZER_FILES = ['tokenizer.json', 'tokenizer_config.json', 'chat_template.jinja', 'generation_config.json']

export interface TinyModelOptions {
  readonly seed?: number
  /** Changes to config.json; the weights follow. */
  readonly config?: Readonly<Record<string, unknown>>
  /** A token whose embedding is no number. */
  readonly brokenToken?: number | undefined
}

/** The embedded model's tokenizer. */
export function embeddedTokenizerFiles(): TokenizerFiles {
  const { eos_token_id } = JSON.parse(readFileSync(join(EMBEDDED_MODEL, 'config.json'), 'utf8'))
  return tokenizerFiles(EMBEDDED_MODEL, [eos_token_id].flat())
}

/** Writes the model to `dir` and returns `dir`. */
export function writeTinyModel(dir: string, options: TinyModelOptions = {}): string {
  mkdirSync(dir, { recursive: true })
  const embedded = JSON.parse(readFileSync(join(EMBEDDED_MODEL, 'config.json'), 'utf8'))
  const config = {
    model_type: 'llama',
    vocab_size: embedded.vocab_size,
    hidden_size: 64,
    num_hidden_layers: 2,
    num_attention_heads: 4,
    num_key_value_heads: 2,
    head_dim: 16,
    intermediate_size: 96,
    max_position_embeddings: 512,
    rms_norm_eps: 1e-5,
    tie_word_embeddings: true,
    bos_token_id: embedded.bos_token_id,
    eos_token_id: embedded.eos_token_id,
    ...options.config,
  }
  writeFileSync(join(dir, 'config.json'), JSON.stringify(config))
  for (const name of TOKENIZER_FILES) cpSync(join(EMBEDDED_MODEL, name), join(dir, name))
  writeFileSync(join(dir, 'model.safetensors'), weights(config, options))
  return dir
}

interface Shape {
  readonly vocab_size: number
  readonly hidden_size: number
  readonly num_hidden_layers: number
  readonly num_attention_heads: number
  readonly num_key_value_heads: number
  readonly head_dim: number
  readonly intermediate_size: number
  readonly tie_word_embeddings: boolean
}

/** model.safetensors in f32: matrices uniform with variance 2 / in, norms around one, embeddings of variance one. */
function weights(config: Shape, { seed = 1, brokenToken }: TinyModelOptions): Uint8Array {
  const { hidden_size: hidden, intermediate_size: middle, vocab_size: vocab } = config
  const query = config.num_attention_heads * config.head_dim
  const keyValue = config.num_key_value_heads * config.head_dim
  const shapes: [string, ...number[]][] = [['model.embed_tokens', vocab, hidden]]
  for (let layer = 0; layer < config.num_hidden_layers; layer++) {
    const path = `model.layers.${layer}`
    shapes.push(
      [`${path}.input_layernorm`, hidden],
      [`${path}.self_attn.q_proj`, query, hidden],
      [`${path}.self_attn.k_proj`, keyValue, hidden],
      [`${path}.self_attn.v_proj`, keyValue, hidden],
      [`${path}.self_attn.o_proj`, hidden, query],
      [`${path}.post_attention_layernorm`, hidden],
      [`${path}.mlp.gate_proj`, middle, hidden],
      [`${path}.mlp.up_proj`, middle, hidden],
      [`${path}.mlp.down_proj`, hidden, middle],
    )
  }
  shapes.push(['model.norm', hidden])
  if (!config.tie_word_embeddings) shapes.push(['lm_head', vocab, hidden])
  const tensors = shapes.map(([name, ...shape]): TensorShape => ({ name: `${name}.weight`, dtype: 'F32', shape }))
  const header = writeHeader(tensors, new Map())
  const random = seededRandom(seed)
  const values = tensors.map(({ name, shape }) => {
    const size = shape.reduce((product, dim) => product * dim, 1)
    const spread = name.includes('embed') ? Math.sqrt(3) : Math.sqrt(6 / shape.at(-1)!)
    const value = name.includes('norm') ? () => 0.8 + 0.4 * random() : () => (2 * random() - 1) * spread
    const all = Float32Array.from({ length: size }, value)
    if (name.includes('embed') && brokenToken !== undefined) {
      all.fill(Number.NaN, brokenToken * hidden, (brokenToken + 1) * hidden)
    }
    return Buffer.from(all.buffer)
  })
  return Buffer.concat([header, ...values])
}
