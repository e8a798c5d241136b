// Finds the one file of a set that holds an adapter's tensors, and opens it by what it is, not by its name.
// Knows container formats, no adapter format. Invariant: it never guesses between two candidates.
import { AdapterError, quote } from './errors.ts'
import { type AdapterFile, baseName, type FileSet } from './file-set.ts'
import { isGguf, openGguf } from './gguf-file.ts'
import { openSafetensors } from './safetensors.ts'
import type { TensorFile } from './source-tensor.ts'
import { openTorchFile } from './torch-file.ts'
import { isZip } from './zip.ts'

const LFS_POINTER = 'version https://git-lfs.github.com/spec/'
const WEIGHTS = /\.(?:safetensors|gguf|pt|pth|bin|ckpt|th)$/
/** What a Trainer's checkpoint holds beside the weights. */
const TRAINER_STATE = /^(?:optimizer|scheduler|scaler|training_args|rng_state.*)\.(?:pt|pth|bin)$/
/** Names that a project gives its adapter; they win over other files of the folder. */
const KNOWN_NAMES = ['lora.safetensors', 'adapters.safetensors', 'adapter_model.safetensors', 'adapter_model.bin']

/** Whether a file is named as one of several over which save_pretrained spread its tensors. */
export function isShard(file: AdapterFile): boolean {
  return /-\d{5}-of-\d{5}\./.test(file.name)
}

/** Files that hold tensors, as far as their names tell; what a Trainer keeps for itself is left out. */
export function listWeights(files: FileSet): AdapterFile[] {
  return [...files.values()].filter((file) => WEIGHTS.test(file.name) && !TRAINER_STATE.test(baseName(file)))
}

/** The one file that can hold the tensors. Throws AdapterError naming the candidates. */
export function pickWeights(files: FileSet): AdapterFile {
  const all = [...files.values()]
  const candidates = listWeights(files)
  const known = KNOWN_NAMES.map((name) => files.get(name)).find((file) => file !== undefined)
  const [first, second] = known === undefined ? candidates : [known]
  if (first === undefined) {
    const archive = all.find((file) => /\.(?:zip|tar|tgz|gz|7z|rar)$/.test(file.name))
    if (archive !== undefined)
      throw new AdapterError('unsupported', `${archive.name} is an archive; unpack it and give the folder.`)
    const names = [...files.keys()].slice(0, 5).join(', ')
    throw new AdapterError(
      'missing',
      `No weights among ${names}; give the file that training saved (.safetensors, .gguf, .pt or .bin).`,
    )
  }
  if (candidates.some(isShard)) {
    throw new AdapterError(
      'unsupported',
      `${first.name} is one shard of a whole model, not an adapter; publish the adapter before merging.`,
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

/** Wrappers upon wrappers included, names stay below 300; the patterns that look at them take names for short. */
const MAX_NAME_CHARS = 1000

/** Opens a file of tensors by its first bytes. Throws AdapterError. */
export async function openWeights(file: AdapterFile): Promise<TensorFile> {
  const weights = await openContainer(file)
  for (const name of weights.tensors.keys()) {
    if (name.length > MAX_NAME_CHARS) {
      throw new AdapterError(
        'malformed',
        `${file.name} has a tensor whose name has ${name.length} characters (${quote(name)}); save the file again.`,
      )
    }
  }
  return weights
}

async function openContainer(file: AdapterFile): Promise<TensorFile> {
  if (file.size === 0) throw new AdapterError('malformed', `${file.name} is empty; save or upload it again.`)
  const head = await file.read(0, Math.min(file.size, LFS_POINTER.length))
  if (new TextDecoder().decode(head) === LFS_POINTER) {
    throw new AdapterError(
      'malformed',
      `${file.name} is a git-LFS pointer, not the weights; run "git lfs pull" in its repository.`,
    )
  }
  if (isGguf(head)) return openGguf(file)
  const torch = isZip(head) || head[0] === 0x80
  // A safetensors header's length also begins with 0x80 now and then, but its ninth byte is always an opening brace.
  const named = /\.(?:pt|pth|bin|ckpt|th)$/.test(file.name)
  return (torch || named) && head[8] !== 0x7b ? openTorchFile(file) : openSafetensors(file)
}
