// Which files of a Hub repository make a base model that gpu-backend/model can open. Pure: names in, names out.
// Invariant: the weights come once: of several saves of the same tensors (consolidated, fp16, .bin) only one is taken.
import { CliError } from '../cli-error.ts'
import type { HubFile } from '../hub/hub.ts'

const REQUIRED = ['config.json', 'tokenizer.json']
const OPTIONAL = [
  'generation_config.json',
  'tokenizer_config.json',
  'chat_template.jinja',
  // Read where it lies: the path is kept.
  'additional_chat_templates/tool_use.jinja',
]
const SINGLE = 'model.safetensors'
export const INDEX = 'model.safetensors.index.json'

/** The one GGUF file that the user named. @throws CliError listing those that there are */
export function ggufFile(id: string, files: readonly HubFile[], wanted: string): HubFile {
  const found = files.find(({ path }) => path === wanted)
  if (!wanted.endsWith('.gguf')) {
    throw new CliError(`--file ${wanted} is not a .gguf file; leave --file out to pull a Hugging Face model.`, 2)
  }
  if (found) return found
  throw new CliError(`${id} has no file ${wanted}; ${ggufHint(files)}.`)
}

/** What is pulled of a repository in Hugging Face layout, but for the shards. @throws CliError naming what it lacks */
export function huggingFaceFiles(id: string, files: readonly HubFile[]): HubFile[] {
  const byPath = new Map(files.map((file) => [file.path, file]))
  const weights = byPath.get(SINGLE) ?? byPath.get(INDEX)
  if (!weights) throw new CliError(`${id} has no ${SINGLE}: ${weightsHint(files)}.`)
  for (const name of REQUIRED) {
    if (!byPath.has(name))
      throw new CliError(`${id} has no ${name}, so it is no model that can be served; choose another repository.`)
  }
  return [...REQUIRED, ...OPTIONAL, weights.path].flatMap((name) => byPath.get(name) ?? [])
}

/** The shards that a downloaded index names. @throws CliError when the index is damaged or names what is not there */
export function shardFiles(id: string, files: readonly HubFile[], index: string): HubFile[] {
  const names = new Set(Object.values(weightMap(id, index)))
  return [...names].sort().map((name) => {
    const file = files.find(({ path }) => path === name)
    // The name becomes a path on this machine.
    if (!file || !/^[\w.-]+\.safetensors$/.test(name)) {
      throw new CliError(`${INDEX} of ${id} names ${JSON.stringify(name)}, which is no file of it: it is damaged.`)
    }
    return file
  })
}

function weightMap(id: string, index: string): Record<string, string> {
  try {
    const { weight_map: map } = JSON.parse(index)
    const names = Object.values(map)
    if (names.length > 0 && names.every((name) => typeof name === 'string')) return map
  } catch {}
  throw new CliError(`${INDEX} of ${id} has no weight_map: it is damaged; choose another revision.`)
}

function weightsHint(files: readonly HubFile[]): string {
  if (files.some(({ path }) => path.endsWith('.gguf'))) return ggufHint(files)
  const pickled = files.some(({ path }) => path.endsWith('.bin') || path.endsWith('.pth'))
  return pickled ? 'only pickled weights, which are not read; look for a safetensors copy' : 'it holds no weights'
}

function ggufHint(files: readonly HubFile[]): string {
  const names = files.map(({ path }) => path).filter((path) => path.endsWith('.gguf'))
  if (names.length === 0) return 'it holds no GGUF files'
  const shown = names.slice(0, 8).join(', ')
  return `give --file with one of ${shown}${names.length > 8 ? `, ... (${names.length} in all)` : ''}`
}
