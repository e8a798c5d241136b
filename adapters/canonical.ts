// The canonical delta file: safetensors, tensors sorted by name, one dtype, scale folded into B, valid for PEFT with alpha = r.
// Knows no foreign format. Invariant: a delta has exactly one encoding per dtype, and decoding refuses any other bytes.
import { type BaseModel, targetModules, targetNames } from './base-model.ts'
import type { Delta, DeltaDtype, DeltaMetadata, DeltaModule } from './delta.ts'
import type { DeltaSource } from './delta-source.ts'
import { AdapterError, quote } from './errors.ts'
import { parseHeader, type SafetensorsEntry, type TensorShape, writeHeader } from './safetensors.ts'
import { BYTES_PER_VALUE } from './source-tensor.ts'

export const DELTA_FORMAT = 'polylora-delta'
const DELTA_VERSION = '1'
/** Far above any rank in use; larger ones would be full fine-tuning under another name. */
export const MAX_RANK = 1024

/** The longest template in use (tool calling in several languages of its own) has about 20,000 characters. */
export const MAX_CHAT_TEMPLATE_CHARS = 200_000
const MAX_NAME_CHARS = 256

/** What can be known of a canonical file without its tensors' values. */
export interface DeltaHeader {
  readonly metadata: DeltaMetadata
  readonly dtype: DeltaDtype
  readonly rank: number
  /** By Hugging Face module path; `a` and `b` are absolute byte offsets in the file. */
  readonly modules: ReadonlyMap<string, { rank: number; in: number; out: number; a: number; b: number }>
}

type Shapes = ReadonlyMap<string, { readonly rank: number; readonly in: number; readonly out: number }>

/** The names of a module's tensors in the file, A's and B's, as PEFT has them. */
export function tensorNames(path: string): readonly [string, string] {
  const prefix = `base_model.model.${path}`
  return path === 'model.embed_tokens'
    ? [`${prefix}.lora_embedding_A`, `${prefix}.lora_embedding_B`]
    : [`${prefix}.lora_A.weight`, `${prefix}.lora_B.weight`]
}

function sortedPaths(modules: Shapes): string[] {
  // By tensor name, code unit by code unit; a module's A and B stay neighbours.
  return [...modules.keys()].sort((x, y) => (tensorNames(x)[0] < tensorNames(y)[0] ? -1 : 1))
}

function header(
  metadata: DeltaMetadata,
  modules: Shapes,
  baseName: string,
  dtype: DeltaDtype,
): Uint8Array<ArrayBuffer> {
  const paths = sortedPaths(modules)
  const tensors = paths.flatMap((path): TensorShape[] => {
    const module = modules.get(path)!
    const [a, b] = tensorNames(path)
    const type = dtype === 'f32' ? 'F32' : 'F16'
    return [
      { name: a, dtype: type, shape: [module.rank, module.in] },
      { name: b, dtype: type, shape: [module.out, module.rank] },
    ]
  })
  const strings = new Map([
    ['format', DELTA_FORMAT],
    ['version', DELTA_VERSION],
    ['base', metadata.base],
    ['base_name', baseName],
    ['source_format', metadata.sourceFormat],
    ['rank', String(Math.max(...Array.from(modules.values(), (module) => module.rank)))],
    ['modules', targetNames(paths).join(',')],
  ])
  if (metadata.chatTemplate !== undefined) strings.set('chat_template', metadata.chatTemplate)
  return writeHeader(tensors, strings)
}

/** Size in bytes of the canonical file. */
export function encodedBytes(
  source: Pick<DeltaSource, 'metadata' | 'modules'>,
  base: BaseModel,
  dtype: DeltaDtype,
): number {
  checkFit(source.metadata, source.modules, base)
  let values = 0
  for (const module of source.modules.values()) values += module.rank * (module.in + module.out)
  return header(source.metadata, source.modules, base.name, dtype).byteLength + values * BYTES_PER_VALUE[dtype]
}

/**
 * The canonical file, a piece at a time: the header, then A and B of one module after another, so that memory holds one
 * module. Throws AdapterError when the delta does not fit `base` or a value is not finite in `dtype`.
 */
export async function* encodeDeltaStream(
  source: Pick<DeltaSource, 'metadata' | 'modules'>,
  base: BaseModel,
  dtype: DeltaDtype,
): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  checkFit(source.metadata, source.modules, base)
  yield header(source.metadata, source.modules, base.name, dtype)
  for (const path of sortedPaths(source.modules)) {
    const { a, b } = await source.modules.get(path)!.load()
    yield encodeValues(a, dtype, `${path} (A)`)
    yield encodeValues(b, dtype, `${path} (B)`)
  }
}

/** The canonical file of a delta that is in memory. Throws as `encodeDeltaStream`. */
export function encodeDelta(delta: Delta, base: BaseModel, dtype: DeltaDtype = 'f32'): Uint8Array<ArrayBuffer> {
  checkFit(delta.metadata, delta.modules, base)
  const pieces = [header(delta.metadata, delta.modules, base.name, dtype)]
  for (const path of sortedPaths(delta.modules)) {
    const { a, b } = delta.modules.get(path)!
    pieces.push(encodeValues(a, dtype, `${path} (A)`), encodeValues(b, dtype, `${path} (B)`))
  }
  const file = new Uint8Array(pieces.reduce((sum, piece) => sum + piece.byteLength, 0))
  let offset = 0
  for (const piece of pieces) {
    file.set(piece, offset)
    offset += piece.byteLength
  }
  return file
}

function encodeValues(values: Float32Array | Float16Array, dtype: DeltaDtype, where: string): Uint8Array<ArrayBuffer> {
  const typed = dtype === 'f32' ? Float32Array.from(values) : Float16Array.from(values)
  if (!allFinite(typed)) {
    const remedy = dtype === 'f16' && allFinite(values) ? 'publish with --dtype f32' : 'train the adapter again'
    throw new AdapterError('malformed', `${where} has a value that is not finite in ${dtype}; ${remedy}.`)
  }
  return new Uint8Array(typed.buffer)
}

function allFinite(values: Float32Array | Float16Array): boolean {
  if (values instanceof Float32Array) {
    const bits = new Uint32Array(values.buffer, values.byteOffset, values.length)
    for (let i = 0; i < bits.length; i++) if ((bits[i]! & 0x7f800000) === 0x7f800000) return false
    return true
  }
  const bits = new Uint16Array(values.buffer, values.byteOffset, values.length)
  for (let i = 0; i < bits.length; i++) if ((bits[i]! & 0x7c00) === 0x7c00) return false
  return true
}

/** Throws AdapterError `mismatch` unless every module exists in `base` with these sizes and the fingerprint is its own. */
function checkFit(metadata: DeltaMetadata, modules: Shapes, base: BaseModel): void {
  if (metadata.base !== base.fingerprint) {
    throw new AdapterError(
      'mismatch',
      `The delta was published for base ${metadata.base} but this is ${base.name}, ${base.fingerprint}; publish it again for this base.`,
    )
  }
  if (modules.size === 0)
    throw new AdapterError('ineffective', 'The delta changes no module; there is nothing to publish.')
  const targets = targetModules(base)
  for (const [path, module] of modules) {
    const target = targets.get(path)
    if (target === undefined) {
      throw new AdapterError(
        'mismatch',
        `${quote(path)} is not a module of ${base.name}; the adapter is for another base model.`,
      )
    }
    if (module.in !== target.in || module.out !== target.out) {
      throw new AdapterError(
        'mismatch',
        `${path} is [${module.out}, ${module.in}] in the delta but [${target.out}, ${target.in}] in ${base.name}; the adapter is for another base model.`,
      )
    }
    if (!(module.rank >= 1 && module.rank <= MAX_RANK)) {
      throw new AdapterError(
        'too_large',
        `${path} has rank ${module.rank}; the canonical delta allows 1 to ${MAX_RANK}.`,
      )
    }
  }
}

/**
 * Checks a canonical file of `fileBytes` bytes by its header alone; `bytes` holds at least the header (`headerEnd` in
 * safetensors.ts tells how much that is). This is the edge's check while it streams a body. Throws AdapterError.
 */
export function checkDeltaHeader(bytes: Uint8Array, fileBytes: number, base: BaseModel): DeltaHeader {
  const parsed = parseHeader(bytes, fileBytes, 'The delta')
  const { metadata: strings } = parsed
  if (strings.get('format') !== DELTA_FORMAT || strings.get('version') !== DELTA_VERSION) {
    throw new AdapterError(
      'unsupported',
      `The file is not a canonical delta of version ${DELTA_VERSION}; publish it with polylora publish.`,
    )
  }
  for (const [key, value] of strings) {
    const limit =
      key === 'chat_template' ? MAX_CHAT_TEMPLATE_CHARS : key === 'modules' ? Number.POSITIVE_INFINITY : MAX_NAME_CHARS
    if (value.length > limit) {
      throw new AdapterError(
        'too_large',
        `The delta's ${quote(key)} has ${value.length} characters (at most ${limit}); publish it with polylora publish.`,
      )
    }
  }
  const chatTemplate = strings.get('chat_template')
  const metadata: DeltaMetadata = {
    base: strings.get('base') ?? '',
    sourceFormat: strings.get('source_format') ?? '',
    ...(chatTemplate === undefined ? {} : { chatTemplate }),
  }
  const dtype = parsed.entries[0]?.dtype === 'F16' ? 'f16' : 'f32'
  const modules = pairEntries(parsed.entries)
  checkFit(metadata, modules, base)
  // One encoding per delta: order, names, dtype, padding and metadata must be exactly what `header` writes.
  const canonical = header(metadata, modules, strings.get('base_name') ?? '', dtype)
  if (canonical.byteLength !== parsed.dataStart || canonical.some((byte, i) => byte !== bytes[i])) {
    throw new AdapterError('malformed', 'The delta is not in canonical form; publish it with polylora publish.')
  }
  return { metadata, dtype, rank: Number(strings.get('rank')), modules }
}

function pairEntries(entries: readonly SafetensorsEntry[]): DeltaHeader['modules'] {
  const modules = new Map<string, { rank: number; in: number; out: number; a: number; b: number }>()
  for (let i = 0; i + 1 < entries.length; i += 2) {
    const [a, b] = [entries[i]!, entries[i + 1]!]
    const path = /^base_model\.model\.(.+)\.(?:lora_A\.weight|lora_embedding_A)$/.exec(a.name)?.[1]
    const [rank, columns] = a.shape
    if (path === undefined || rank === undefined || columns === undefined || b.shape[1] !== rank) {
      throw new AdapterError(
        'malformed',
        `The delta: ${quote(a.name)} and ${quote(b.name)} are not one module's A and B.`,
      )
    }
    modules.set(path, { rank, in: columns, out: b.shape[0]!, a: a.start, b: b.start })
  }
  return modules
}

/**
 * A canonical file as a delta for `base`. The tensors are views of `bytes` where it is aligned to 4 bytes, copies otherwise.
 * Throws AdapterError when the bytes are not canonical, do not fit `base`, or hold a value that is not finite.
 */
export function decodeDelta(bytes: Uint8Array, base: BaseModel): Delta {
  const { metadata, dtype, modules: places } = checkDeltaHeader(bytes, bytes.byteLength, base)
  const aligned = bytes.byteOffset % 4 === 0 ? bytes : bytes.slice()
  const view = (start: number, values: number) =>
    dtype === 'f32'
      ? new Float32Array(aligned.buffer, aligned.byteOffset + start, values)
      : new Float16Array(aligned.buffer, aligned.byteOffset + start, values)
  const modules = new Map<string, DeltaModule>()
  for (const [path, { rank, in: columns, out, a, b }] of places) {
    const module = { rank, in: columns, out, a: view(a, rank * columns), b: view(b, out * rank) }
    if (!allFinite(module.a) || !allFinite(module.b)) {
      throw new AdapterError('malformed', `${path} has a value that is not finite; train the adapter again.`)
    }
    modules.set(path, module)
  }
  return { metadata, modules }
}
