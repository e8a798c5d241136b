// microsoft/LoRA (loralib): torch.save of lora_state_dict(model); keys `<module>.lora_A`, `<module>.lora_B`.
// Follows loralib/layers.py and utils.py. The file has no alpha: it comes from a side file or from the caller.
// Invariant: s = alpha / r with the tensors' own r, since that is what every loralib layer computes.
import { type DeltaSource, type ModuleSource, scaleInPlace } from '../delta-source.ts'
import { AdapterError, quote } from '../errors.ts'
import { agreedFactor, type ImportOptions } from '../import-options.ts'
import { ModuleNames } from '../modules.ts'
import type { SourceTensor, TensorFile } from '../source-tensor.ts'
import { unfuse } from './fused.ts'
import { partnerOf } from './partner.ts'
import { rankNotices } from './rank-notices.ts'

/** What the training script knew and the file does not: from a side file such as lora.json. */
export interface LoralibFacts {
  /** The file that says so. */
  readonly file: string | undefined
  readonly r: number | undefined
  readonly alpha: number | undefined
  readonly enableLora: readonly boolean[] | undefined
}

/** A delta source from an opened loralib checkpoint. Throws AdapterError, `missing` when alpha is unknown. */
export function readLoralib(weights: TensorFile, facts: LoralibFacts, options: ImportOptions): DeltaSource {
  const where = `${facts.file ?? ''}: lora_alpha`
  const alpha = agreedFactor({ value: facts.alpha, where }, { value: options.alpha, option: '--alpha' })
  if (alpha === undefined) {
    throw new AdapterError(
      'missing',
      `${weights.file} is a loralib file, which does not store lora_alpha; give --alpha, or a lora.json beside it with {"r": ..., "lora_alpha": ...}.`,
    )
  }
  const enableLora = agreedFlags(facts, options)
  const names = new ModuleNames(options.base)
  const notices = facts.file === undefined ? [] : [`lora_alpha ${alpha} is from ${facts.file}.`]
  const modules = new Map<string, ModuleSource>()
  for (const [name, { a, b }] of collectPairs(weights, notices)) {
    for (const [path, module] of layerSources(name, a, b, alpha, enableLora, names)) {
      if (modules.has(path))
        throw new AdapterError('malformed', `${weights.file} changes ${path} twice; save only one adapter.`)
      modules.set(path, module)
    }
  }
  if (modules.size === 0) {
    throw new AdapterError(
      'ineffective',
      `${weights.file} has no tensors named <module>.lora_A; save lora.lora_state_dict(model).`,
    )
  }
  notices.push(...rankNotices('The side file says r', facts.r, modules))
  return { metadata: { base: options.base.fingerprint, sourceFormat: 'loralib' }, modules, notices }
}

function agreedFlags({ file, enableLora }: LoralibFacts, options: ImportOptions): readonly boolean[] | undefined {
  const given = options.enableLora
  if (enableLora !== undefined && given !== undefined && enableLora.join() !== given.join()) {
    throw new AdapterError(
      'mismatch',
      `${file}: enable_lora is ${enableLora.join()} but --enable-lora is ${given.join()}; leave out the option, or correct the file.`,
    )
  }
  return enableLora ?? given
}

function collectPairs(weights: TensorFile, notices: string[]): Map<string, { a: SourceTensor; b: SourceTensor }> {
  const pairs = new Map<string, { a: SourceTensor; b: SourceTensor }>()
  const others: string[] = []
  for (const tensor of weights.tensors.values()) {
    const match = /^(.+)\.lora_([AB])$/.exec(tensor.name)
    if (match === null) {
      others.push(tensor.name)
      continue
    }
    const [, name, side] = match
    const other = `${name}.lora_${side === 'A' ? 'B' : 'A'}`
    const partner = partnerOf(tensor, other, weights, 'save lora.lora_state_dict(model) again')
    if (side === 'A') pairs.set(name!, { a: tensor, b: partner })
  }
  refuseOthers(others, pairs.size > 0, weights, notices)
  return pairs
}

/** bias="all" and bias="lora_only" add trained biases; the GPT-2 example's causal mask is a buffer named attn.bias. */
function refuseOthers(others: readonly string[], hasPairs: boolean, weights: TensorFile, notices: string[]): void {
  const masks = others.filter((name) => weights.tensors.get(name)!.shape.length === 4 && name.endsWith('attn.bias'))
  if (masks.length > 0)
    notices.push(`${masks.length} causal masks (first ${quote(masks[0]!)}) are constants and were left out.`)
  const [other] = others.filter((name) => !masks.includes(name))
  if (other === undefined || !hasPairs) return
  const why = other.endsWith('bias')
    ? 'is a bias of the base model; save with lora_state_dict(model, bias="none") from a model whose biases were not trained'
    : 'is a full weight, not a LoRA tensor; save lora.lora_state_dict(model)'
  throw new AdapterError('unsupported', `${weights.file}: ${quote(other)} ${why}.`)
}

function layerSources(
  name: string,
  a: SourceTensor,
  b: SourceTensor,
  alpha: number,
  enableLora: readonly boolean[] | undefined,
  names: ModuleNames,
): Map<string, ModuleSource> {
  const path = names.tryFind(name)
  if (path === undefined && enableLora !== undefined) {
    return unfuse(name, a, b, enableLora, names, (rank) => alpha / rank)
  }
  if (path === undefined && a.shape[0] !== b.shape[1]) {
    throw new AdapterError(
      'missing',
      `${quote(a.name)} looks like a MergedLinear; give --enable-lora, such as true,false,true, as it was in training.`,
    )
  }
  const found = path ?? names.find(name, a.name)
  // loralib's Embedding has the same shapes as PEFT's: A [r, vocab], B [dim, r].
  const rank = names.pairRank(found, a, b)
  const { in: columns, out } = names.size(found)
  const scale = alpha / rank
  const load = async () => ({ a: await a.load(), b: scaleInPlace(await b.load(), scale) })
  return new Map([[found, { rank, in: columns, out, scale, load }]])
}
