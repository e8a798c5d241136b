// Takes the files that some LoRA project saved, finds out which one, and gives one delta source.
// Knows how formats look from outside, not how they are read. Invariant: what it cannot place, it refuses by name.
import { checkDeltaHeader, DELTA_FORMAT } from './canonical.ts'
import type { DeltaSource, ModuleSource } from './delta-source.ts'
import { AdapterError } from './errors.ts'
import { type AdapterFile, baseName, type FileSet, readJson } from './file-set.ts'
import { alpacaChatTemplate, isAlpacaTemplate } from './formats/alpaca-template.ts'
import { readGguf } from './formats/gguf.ts'
import { readLoralib } from './formats/loralib.ts'
import { isMistralFinetune, readMistralFinetune } from './formats/mistral-finetune.ts'
import { isMlxConfig, readMlx } from './formats/mlx.ts'
import { readPeft } from './formats/peft.ts'
import { parsePeftConfig } from './formats/peft-config.ts'
import { isGguf, openGguf } from './gguf-file.ts'
import type { ImportOptions } from './import-options.ts'
import { headerEnd, LENGTH_BYTES, openSafetensors } from './safetensors.ts'
import type { TensorFile } from './source-tensor.ts'
import { openTorchFile } from './torch-file.ts'

const LFS_POINTER = 'version https://git-lfs.github.com/spec/'

/** PEFT's weights in the order in which PEFT itself prefers them; the last is what a Trainer's checkpoint holds. */
const PEFT_WEIGHTS = ['adapter_model.safetensors', 'adapter_model.bin', 'pytorch_model.bin']

/** An adapter whose project is known and whose header is read; its values are still in its files. */
export interface IdentifiedAdapter {
  readonly weights: TensorFile
  /** Throws AdapterError when it does not fit `options.base` or can't be a plain delta. */
  read(options: ImportOptions): Promise<DeltaSource>
}

/**
 * Reads an adapter in whatever supported form `files` have it. Values stay in the files until the source's modules are
 * loaded. Throws AdapterError with one sentence for the adapter's owner.
 */
export async function importAdapter(files: FileSet, options: ImportOptions): Promise<DeltaSource> {
  return (await identifyAdapter(files)).read(options)
}

/** Finds out which project saved `files`. Throws AdapterError when none is recognised, or it is one that can't be served. */
export async function identifyAdapter(files: FileSet): Promise<IdentifiedAdapter> {
  if (files.size === 0)
    throw new AdapterError('missing', 'There are no files; give the folder or the file that training saved.')
  const config = find(files, 'adapter_config.json')
  if (config !== undefined) {
    const json = await readJson(config)
    return isMlxConfig(json) ? identifyMlx(files, config, json) : identifyPeft(files, config, json)
  }
  const file = pickWeights(files)
  const weights = await openWeights(file)
  if (weights.metadata.get('format') === DELTA_FORMAT) {
    return { weights, read: (options) => importCanonical(file, weights, options) }
  }
  if (weights.metadata.has('general.architecture')) {
    return { weights, read: async (options) => readGguf(weights, options) }
  }
  if (isMistralFinetune(weights)) {
    const params = find(files, 'params.json')
    const json = params && (await readJson(params))
    return { weights, read: async (options) => readMistralFinetune(weights, json, options) }
  }
  if ([...weights.tensors.keys()].some((name) => /\.lora_(?:embedding_)?[AB]\.(?:.+\.)?weight$/.test(name))) {
    throw new AdapterError(
      'missing',
      `${file.name} has PEFT's tensor names but no adapter_config.json lies beside it, so the scale is unknown; give the whole folder.`,
    )
  }
  const facts = await loralibFacts(files)
  return { weights, read: async (options) => readLoralib(weights, facts, options) }
}

function find(files: FileSet, name: string): AdapterFile | undefined {
  return files.get(name) ?? [...files.values()].find((file) => baseName(file) === name)
}

async function identifyMlx(files: FileSet, configFile: AdapterFile, json: unknown): Promise<IdentifiedAdapter> {
  const folder = configFile.name.slice(0, configFile.name.length - 'adapter_config.json'.length)
  const file = files.get(`${folder}adapters.safetensors`)
  if (file === undefined) {
    throw new AdapterError(
      'missing',
      `${configFile.name} is mlx_lm's, but no adapters.safetensors lies beside it; give the whole folder.`,
    )
  }
  const weights = await openWeights(file)
  return { weights, read: async (options) => readMlx(weights, json, options) }
}

async function identifyPeft(files: FileSet, configFile: AdapterFile, json: unknown): Promise<IdentifiedAdapter> {
  const config = parsePeftConfig(json, configFile.name)
  const folder = configFile.name.slice(0, configFile.name.length - 'adapter_config.json'.length)
  const file = PEFT_WEIGHTS.map((name) => files.get(folder + name)).find((candidate) => candidate !== undefined)
  if (file === undefined) {
    throw new AdapterError(
      'missing',
      `${configFile.name} has no ${PEFT_WEIGHTS[0]} or ${PEFT_WEIGHTS[1]} beside it; give the whole folder.`,
    )
  }
  const weights = await openWeights(file)
  const chatTemplate = await findAlpacaTemplate(files)
  const sourceFormat = chatTemplate === undefined ? 'peft' : 'alpaca-lora'
  return {
    weights,
    async read(options) {
      const source = readPeft(weights, config, sourceFormat, options)
      return chatTemplate === undefined ? source : { ...source, metadata: { ...source.metadata, chatTemplate } }
    },
  }
}

async function findAlpacaTemplate(files: FileSet): Promise<string | undefined> {
  for (const file of files.values()) {
    if (!file.name.endsWith('.json') || file.size > 65_536) continue
    const json = await readJson(file)
    if (isAlpacaTemplate(json)) return alpacaChatTemplate(json, file.name)
  }
  return undefined
}

/** The one file that can hold the tensors. */
function pickWeights(files: FileSet): AdapterFile {
  const candidates = [...files.values()].filter((file) => /\.(?:safetensors|gguf|pt|pth|bin|ckpt|th)$/.test(file.name))
  const [first, second] = candidates
  if (first === undefined) {
    throw new AdapterError(
      'missing',
      `No weights among ${[...files.keys()].slice(0, 5).join(', ')}; give the file that training saved (.safetensors, .pt or .bin).`,
    )
  }
  if (second !== undefined) {
    throw new AdapterError(
      'unsupported',
      `Both ${first.name} and ${second.name} could be the adapter; give one of them.`,
    )
  }
  return first
}

async function openWeights(file: AdapterFile): Promise<TensorFile> {
  const head = await file.read(0, Math.min(file.size, LFS_POINTER.length))
  if (new TextDecoder().decode(head) === LFS_POINTER) {
    throw new AdapterError(
      'malformed',
      `${file.name} is a git-LFS pointer, not the weights; run "git lfs pull" in its repository.`,
    )
  }
  if (isGguf(head)) return openGguf(file)
  return file.name.endsWith('.safetensors') ? openSafetensors(file) : openTorchFile(file)
}

async function loralibFacts(files: FileSet) {
  for (const file of files.values()) {
    if (!file.name.endsWith('.json') || file.size > 65_536) continue
    const json = await readJson(file)
    if (typeof json !== 'object' || json === null) continue
    const facts = json as Record<string, unknown>
    const alpha = facts.lora_alpha ?? facts.alpha
    if (typeof alpha !== 'number') continue
    const enableLora = facts.enable_lora
    return {
      r: typeof facts.r === 'number' ? facts.r : undefined,
      alpha,
      enableLora: Array.isArray(enableLora) ? enableLora.map(Boolean) : undefined,
    }
  }
  return { r: undefined, alpha: undefined, enableLora: undefined }
}

/** A canonical file is taken as it is: published again for the same base it gives the same bytes. */
async function importCanonical(file: AdapterFile, tensors: TensorFile, options: ImportOptions): Promise<DeltaSource> {
  const head = await file.read(0, headerEnd(await file.read(0, LENGTH_BYTES), file.name))
  const header = checkDeltaHeader(head, file.size, options.base)
  const modules = new Map<string, ModuleSource>()
  for (const [path, { rank, in: columns, out }] of header.modules) {
    const embedding = path === 'model.embed_tokens'
    const tensor = (side: string) =>
      tensors.tensors.get(`base_model.model.${path}.${embedding ? `lora_embedding_${side}` : `lora_${side}.weight`}`)!
    const load = async () => ({ a: await tensor('A').load(), b: await tensor('B').load() })
    modules.set(path, { rank, in: columns, out, scale: 1, load })
  }
  return { metadata: header.metadata, modules, notices: [] }
}
