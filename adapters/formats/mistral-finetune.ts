// mistralai/mistral-finetune: lora.safetensors with Meta's module names, and params.json with the scaling.
// Follows model/{lora,rope,args}.py and finetune/checkpointing.py. Its rotary embedding is interleaved.
// Invariant: rows of B of wq and wk are put in Hugging Face's order; `lora.scaling` is the factor itself, not alpha.
import * as z from 'zod/mini'
import { type DeltaSource, type ModuleSource, scaleInPlace } from '../delta-source.ts'
import { AdapterError, quote } from '../errors.ts'
import { agreedFactor, type ImportOptions } from '../import-options.ts'
import { ModuleNames } from '../modules.ts'
import { deinterleaveRows, rotaryHeads } from '../rope-order.ts'
import type { SourceTensor, TensorFile } from '../source-tensor.ts'
import { partnerOf } from './partner.ts'
import { rankNotices } from './rank-notices.ts'

const MODULES: Readonly<Record<string, string>> = {
  'attention.wq': 'self_attn.q_proj',
  'attention.wk': 'self_attn.k_proj',
  'attention.wv': 'self_attn.v_proj',
  'attention.wo': 'self_attn.o_proj',
  'feed_forward.w1': 'mlp.gate_proj',
  'feed_forward.w2': 'mlp.down_proj',
  'feed_forward.w3': 'mlp.up_proj',
}
const KEY = /^layers\.(\d+)\.(attention\.w[qkvo]|feed_forward\.w[123])\.lora_([AB])\.weight$/

const Params = z.looseObject({
  lora: z.optional(
    z.nullable(
      z.looseObject({ rank: z.optional(z.number()), scaling: z.optional(z.number()), enable: z.optional(z.boolean()) }),
    ),
  ),
  moe: z.optional(z.unknown()),
})

/** Whether a file's tensor names are mistral-finetune's. */
export function isMistralFinetune(weights: TensorFile): boolean {
  return [...weights.tensors.keys()].some((name) => /^layers\.\d+\.(?:attention|feed_forward)\./.test(name))
}

/** A delta source from lora.safetensors and params.json's value (undefined: no such file). Throws AdapterError. */
export function readMistralFinetune(weights: TensorFile, paramsJson: unknown, options: ImportOptions): DeltaSource {
  const params = Params.safeParse(paramsJson ?? {})
  if (!params.success) {
    const [issue] = params.error.issues
    throw new AdapterError(
      'malformed',
      `params.json: ${quote(issue?.path.join('.') ?? '')} is not what mistral-finetune writes (${issue?.message}); correct it.`,
    )
  }
  const scaling = agreedFactor(
    { value: params.data.lora?.scaling, where: 'params.json: lora.scaling' },
    { value: options.scaling, option: '--scaling' },
  )
  if (scaling === undefined || !Number.isFinite(scaling)) {
    throw new AdapterError(
      'missing',
      `${weights.file} is a mistral-finetune file whose scaling is unknown; put its params.json (lora.scaling) beside it or give --scaling (the default in training is 2).`,
    )
  }
  const names = new ModuleNames(options.base)
  const modules = new Map<string, ModuleSource>()
  for (const tensor of weights.tensors.values()) {
    const match = KEY.exec(tensor.name)
    if (match === null) throw strangeTensor(tensor.name, weights)
    const [, layer, module, side] = match
    const other = tensor.name.replace(/lora_[AB]/, `lora_${side === 'A' ? 'B' : 'A'}`)
    const partner = partnerOf(tensor, other, weights, 'save the checkpoint again')
    if (side === 'B') continue
    const path = names.find(`model.layers.${layer}.${MODULES[module!]}`, tensor.name)
    modules.set(path, moduleSource(path, tensor, partner, scaling, names, options))
  }
  if (modules.size === 0)
    throw new AdapterError(
      'ineffective',
      `${weights.file} holds no LoRA tensors; save the checkpoint with save_adapters true.`,
    )
  const notices = rankNotices('params.json says lora.rank', params.data.lora?.rank, modules)
  return { metadata: { base: options.base.fingerprint, sourceFormat: 'mistral-finetune' }, modules, notices }
}

function strangeTensor(name: string, weights: TensorFile): AdapterError {
  if (/\.(?:experts|gate)\./.test(name)) {
    return new AdapterError(
      'unsupported',
      `${weights.file}: ${quote(name)} belongs to a mixture of experts, which cannot be served; train on a dense base model.`,
    )
  }
  const why = name.includes('lora_')
    ? 'is not a module that mistral-finetune trains'
    : 'is a full weight: this is a merged model, not an adapter; save with save_adapters true'
  return new AdapterError('unsupported', `${weights.file}: ${quote(name)} ${why}.`)
}

function moduleSource(
  path: string,
  a: SourceTensor,
  b: SourceTensor,
  scale: number,
  names: ModuleNames,
  options: ImportOptions,
): ModuleSource {
  const rank = names.pairRank(path, a, b)
  const { in: columns, out } = names.size(path)
  const rotary = rotaryHeads(path, options.base)
  const load = async () => {
    const rows = scaleInPlace(await b.load(), scale)
    return { a: await a.load(), b: rotary > 0 ? deinterleaveRows(rows, rotary, options.base.head_dim) : rows }
  }
  return { rank, in: columns, out, scale, load }
}
