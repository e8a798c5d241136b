// What arrives often but is no adapter that can be served, recognised by its configuration or its tensors' names.
// Knows no sizes. Invariant: it only refuses; what it does not know, it lets pass.
import { AdapterError, quote } from '../errors.ts'
import type { TensorFile } from '../source-tensor.ts'

/** Throws AdapterError for an adapter_config.json that is neither PEFT's nor MLX's. */
export function refuseStrangeConfig(json: unknown, file: string): void {
  if (typeof json !== 'object' || json === null || Array.isArray(json)) {
    throw new AdapterError('malformed', `${file} is not a JSON object; take it again from where training saved it.`)
  }
  if ('peft_type' in json) return
  if ('architectures' in json || 'num_hidden_layers' in json) {
    throw new AdapterError(
      'unsupported',
      `${file} is the configuration of a whole model, not of an adapter; give the folder that save_pretrained of the PEFT model wrote.`,
    )
  }
  if ('model_class' in json || 'model_name' in json || 'config' in json) {
    throw new AdapterError(
      'unsupported',
      `${file} is of AdapterHub (the adapters library), whose layers differ from plain LoRA; train or convert it with PEFT.`,
    )
  }
  throw new AdapterError(
    'unsupported',
    `${file} has no peft_type, so it is not PEFT's; only PEFT's and mlx_lm's files have this name.`,
  )
}

const STRANGE_TENSORS: readonly (readonly [RegExp, string])[] = [
  [
    /^lora_(?:unet|te\d?|transformer)_|\.lora_(?:down|up)\.weight$/,
    'is of an image model (kohya or diffusers); only language models are served',
  ],
  [/\.loras\.[^.]+\.lora_[AB]$/, 'is of AdapterHub (the adapters library); train or convert it with PEFT'],
  [
    /\.(?:hada_w[12]_[ab]|lokr_w[12](?:_[ab])?|oft_[rs]|ia3_l|vera_lambda_[bd]|boft_[RsP]|lora_E)(?:\.|$)/,
    'is of another PEFT method; only plain LoRA can be served',
  ],
  [/^(?:prompt_embeddings|base_model\.prompt_encoder)/, 'is a soft prompt; only plain LoRA can be served'],
]

/** Throws AdapterError when a file's tensors are those of something else than a LoRA of a language model. */
export function refuseStrangeTensors(weights: TensorFile): void {
  const names = [...weights.tensors.keys()]
  for (const [pattern, why] of STRANGE_TENSORS) {
    const name = names.find((candidate) => pattern.test(candidate))
    if (name !== undefined) throw new AdapterError('unsupported', `${weights.file}: ${quote(name)} ${why}.`)
  }
  const [first] = names
  if (first !== undefined && !names.some((name) => /lora/i.test(name))) {
    throw new AdapterError(
      'unsupported',
      `${weights.file} holds full weights (${quote(first)} and others) and no LoRA tensors: it is a whole model, not an adapter; publish the adapter before merging.`,
    )
  }
}
