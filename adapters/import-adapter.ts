// Takes the files that some LoRA project saved, finds out which one, and gives one delta source.
// Knows how formats look from outside, not how they are read. Invariant: what it cannot place, it refuses by name.
import { checkDeltaHeader, DELTA_FORMAT } from './canonical.ts'
import type { DeltaSource, ModuleSource } from './delta-source.ts'
import { AdapterError } from './errors.ts'
import { type AdapterFile, baseName, type FileSet, readJson } from './file-set.ts'
import { alpacaChatTemplate, isAlpacaTemplate } from './formats/alpaca-template.ts'
import { readLoralib } from './formats/loralib.ts'
import { isMistralFinetune, readMistralFinetune } from './formats/mistral-finetune.ts'
import { readPeft } from './formats/peft.ts'
import { parsePeftConfig } from './formats/peft-config.ts'
import type { ImportOptions } from './import-options.ts'
import { headerEnd, LENGTH_BYTES, openSafetensors } from './safetensors.ts'
import type { TensorFile } from './source-tensor.ts'
import { openTorchFile } from './torch-file.ts'

const LFS_POINTER = 'version https://git-lfs.github.com/spec/'

/** PEFT's weights in the order in which PEFT itself prefers them; the last is what a Trainer's checkpoint holds. */
const PEFT_WEIGHTS = ['adapter_model.safetensors', 'adapter_model.bin', 'pytorch_model.bin']

/**
 * Reads an adapter in whatever supported form `files` have it. Values stay in the files until the source's modules are
 * loaded. Throws AdapterError with one sentence for the adapter's owner.
 */
export async function importAdapter(files: FileSet, options: ImportOptions): Promise<DeltaSource> {
  if (files.size === 0)
    throw new AdapterError('missing', 'There are no files; give the folder or the file that training saved.')
  const config = find(files, 'adapter_config.json')
  if (config !== undefined) return importPeft(files, config, options)
  const weights = pickWeights(files)
  const tensors = await openWeights(weights)
  if (tensors.metadata.get('format') === DELTA_FORMAT) return importCanonical(weights, tensors, options)
  if (isMistralFinetune(tensors)) {
    const params = find(files, 'params.json')
    return readMistralFinetune(tensors, params && (await readJson(params)), options)
  }
  if ([...tensors.tensors.keys()].some((name) => /\.lora_(?:embedding_)?[AB]\.(?:.+\.)?weight$/.test(name))) {
    throw new AdapterError(
      'missing',
      `${weights.name} has PEFT's tensor names but no adapter_config.json lies beside it, so the scale is unknown; give the whole folder.`,
    )
  }
  return readLoralib(tensors, await loralibFacts(files), options)
}

function find(files: FileSet, name: string): AdapterFile | undefined {
  return files.get(name) ?? [...files.values()].find((file) => baseName(file) === name)
}

async function importPeft(files: FileSet, configFile: AdapterFile, options: ImportOptions): Promise<DeltaSource> {
  const config = parsePeftConfig(await readJson(configFile), configFile.name)
  const folder = configFile.name.slice(0, configFile.name.length - 'adapter_config.json'.length)
  const weights = PEFT_WEIGHTS.map((name) => files.get(folder + name)).find((file) => file !== undefined)
  if (weights === undefined) {
    throw new AdapterError(
      'missing',
      `${configFile.name} has no ${PEFT_WEIGHTS[0]} or ${PEFT_WEIGHTS[1]} beside it; give the whole folder.`,
    )
  }
  const template = await findAlpacaTemplate(files)
  const source = readPeft(await openWeights(weights), config, template === undefined ? 'peft' : 'alpaca-lora', options)
  return template === undefined ? source : { ...source, metadata: { ...source.metadata, chatTemplate: template } }
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
  const candidates = [...files.values()].filter((file) => /\.(?:safetensors|pt|pth|bin|ckpt|th)$/.test(file.name))
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
  const head = new TextDecoder().decode(await file.read(0, Math.min(file.size, LFS_POINTER.length)))
  if (head === LFS_POINTER) {
    throw new AdapterError(
      'malformed',
      `${file.name} is a git-LFS pointer, not the weights; run "git lfs pull" in its repository.`,
    )
  }
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
