// The backend's options: command-line flags and one secret from the environment, checked once at the start.
import { availableParallelism, totalmem } from 'node:os'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import * as z from 'zod/mini'
import { MAX_RANK } from '../adapters/canonical.ts'
import { MIN_SECRET_CHARS } from './capability.ts'
import { StartupError } from './errors.ts'
import { WEIGHT_FORMATS, type WeightFormat } from './model/weight-formats.ts'

export const HELP = `Serves many LoRA adapters on one base model.

Usage: npx node gpu-backend/main.ts [options] [-- arguments for vllm serve]
       (secret shared with the edge: POLYLORA_BACKEND_SECRET)

  --host HOST             address to listen on (default 127.0.0.1)
  --port PORT             port to listen on; 0: any free one (default 8788)
  --model PATH            base model, a Hugging Face directory or a .gguf file (default: the embedded one)
  --served-model-name N   the base model's name for clients (default: the directory's name)
  --engine E              what generates: onnx or vllm (default onnx)
  --device D              cpu, webgpu (onnx) or cuda (default cpu)
  --weights W             onnx: f32, f16 (on a GPU; cuda takes no other), int8 or int4 (default f32 for the embedded
                          model, else int8);
                          vllm: f32, f16 or bf16 (default: the model's own)
  --threads N             threads of the onnx engine (default: all cores)
  --memory SIZE           budget for KV cache, deltas and prefixes, like 2GB (default: a quarter of this machine's or container's)
  --max-batch N           sequences in one batch at most (default 32)
  --context N             tokens of context (default: the model's, at most 4096)
  --max-queue N           sequences that may wait; beyond it 429 to who has a batch of them (default 1024)
  --max-adapter-size S    largest delta taken in (default 1GB)
  --max-rank N            largest rank of a delta's module (default 1024; with vllm 64, where memory follows it)
  --disk SIZE             deltas kept on disk (default 20GB)
  --data-dir DIR          built graphs and deltas (default .polylora/backend)
  --help

With --engine vllm:
  --vllm-url URL          a running server, given once for each; otherwise one is started
                          (its key: POLYLORA_VLLM_API_KEY)
  --vllm-command PATH     the vllm to start (default vllm)
  --vllm-shared-dir DIR   where this backend's deltas lie for vLLM, which sees them under the same path (default: in --data-dir)
  --max-loras N           different deltas in one batch (default 8)
`

/** The base model that comes with the project. */
export const EMBEDDED_MODEL = fileURLToPath(new URL('./base-model', import.meta.url))
export const EMBEDDED_NAME = 'polylora-base'

/** What clients call the model at an absolute `path` where no other name is given. */
export function modelNameOf(path: string): string {
  return path === EMBEDDED_MODEL ? EMBEDDED_NAME : (path.split(/[\\/]/).filter(Boolean).at(-1) ?? 'model')
}

const count = z.pipe(z.string().check(z.regex(/^\d+$/, 'must be a whole number')), z.transform(Number))
const size = z.pipe(
  z.string().check(z.regex(/^\d+(\.\d+)?\s*(KB|MB|GB|TB)?$/i, 'must be a size like 512MB or 4GB')),
  z.transform(parseBytes),
)

/** Bytes that this process may take: a container's limit, where that is below what the machine has. 0 is none. */
export function usableMemory(machine = totalmem(), limit = process.constrainedMemory()): number {
  return limit > 0 ? Math.min(machine, limit) : machine
}

const text = z.string().check(z.minLength(1, 'must not be empty'))

const Flags = z.strictObject({
  host: z._default(text, '127.0.0.1'),
  port: z._default(count.check(z.lte(65535)), 8788),
  model: z._default(text, EMBEDDED_MODEL),
  'served-model-name': z.optional(text),
  engine: z._default(z.enum(['onnx', 'vllm']), 'onnx'),
  device: z._default(z.enum(['cpu', 'webgpu', 'cuda']), 'cpu'),
  weights: z.optional(z.enum(['f32', 'f16', 'bf16', 'int8', 'int4'])),
  threads: z._default(count.check(z.positive()), availableParallelism()),
  memory: z._default(size, Math.floor(usableMemory() / 4)),
  'max-batch': z._default(count.check(z.positive(), z.lte(256)), 32),
  context: z.optional(count.check(z.positive())),
  'max-queue': z._default(count, 1024),
  'max-adapter-size': z._default(size, 1e9),
  'max-rank': z.optional(count.check(z.positive(), z.lte(MAX_RANK))),
  disk: z._default(size, 20e9),
  'data-dir': z._default(text, '.polylora/backend'),
  'vllm-url': z._default(z.array(z.url({ protocol: /^https?$/ })), []),
  'vllm-command': z._default(text, 'vllm'),
  'vllm-shared-dir': z.optional(text),
  'max-loras': z._default(count.check(z.positive(), z.lte(256)), 8),
})

const Secret = z.string().check(z.minLength(MIN_SECRET_CHARS))

const DEFAULT_MAX_RANK = { onnx: MAX_RANK, vllm: 64 }
/** What each engine takes of options that both have. */
const TAKEN = {
  onnx: z.object({ device: z.enum(['cpu', 'webgpu', 'cuda']), weights: z.optional(z.enum(WEIGHT_FORMATS)) }),
  vllm: z.object({ device: z.enum(['cpu', 'cuda']), weights: z.optional(z.enum(['f32', 'f16', 'bf16'])) }),
}

type Flags = z.infer<typeof Flags>
type EngineChoice =
  | {
      readonly engine: 'onnx'
      readonly device: z.infer<typeof TAKEN.onnx>['device']
      readonly weightFormat: WeightFormat
    }
  | {
      readonly engine: 'vllm'
      readonly device: z.infer<typeof TAKEN.vllm>['device']
      /** undefined: the model's own. */
      readonly weightFormat: z.infer<typeof TAKEN.vllm>['weights']
    }

export type Config = Omit<Flags, 'engine' | 'device' | 'weights' | 'max-rank'> &
  EngineChoice & {
    readonly secret: string
    readonly modelName: string
    readonly maxRank: number
    readonly vllmApiKey: string | undefined
    /** What follows `--`. */
    readonly vllmArguments: readonly string[]
  }

/**
 * Reads flags and the environment; undefined when help was asked for.
 * @throws StartupError naming the flag that is wrong
 */
export function parseConfig(
  args: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
): Config | undefined {
  const end = args.includes('--') ? args.indexOf('--') : args.length
  const flags = readFlags(args.slice(0, end))
  if (flags.help) return undefined
  const parsed = Flags.safeParse(flags)
  if (!parsed.success) {
    const issue = parsed.error.issues[0]!
    const [name, at] = issue.path.map(String) as [string, string?]
    const given = flags[name]
    const value = Array.isArray(given) ? given[Number(at)] : given
    throw new StartupError(`--${name} ${value === '' ? '""' : value}: ${issue.message}. See --help.`)
  }
  const secret = Secret.safeParse(env.POLYLORA_BACKEND_SECRET)
  if (!secret.success) {
    throw new StartupError(
      `POLYLORA_BACKEND_SECRET is not set to at least ${MIN_SECRET_CHARS} characters: give the edge and this backend the same secret.`,
    )
  }
  const options = parsed.data
  const vllmArguments = args.slice(end + 1)
  checkUse(flags, options, vllmArguments)
  checkUrls(options, env.POLYLORA_VLLM_API_KEY)
  return Object.freeze({
    ...options,
    ...engineChoice(options),
    secret: secret.data,
    modelName: options['served-model-name'] ?? modelNameOf(options.model),
    maxRank: options['max-rank'] ?? DEFAULT_MAX_RANK[options.engine],
    vllmApiKey: env.POLYLORA_VLLM_API_KEY,
    vllmArguments,
  })
}

/** @throws StartupError where the engine does not take a device or kind of weights */
function engineChoice({ engine, device, weights, model }: Flags): EngineChoice {
  if (engine === 'vllm') {
    const taken = parseTaken(TAKEN.vllm, engine, { device, weights })
    if (taken.device === 'cuda' && taken.weights === 'f32')
      throw new StartupError("--weights f32: vLLM's kernels for adapters on CUDA take f16 or bf16. See --help.")
    return { engine, device: taken.device, weightFormat: taken.weights }
  }
  const taken = parseTaken(TAKEN.onnx, engine, { device, weights })
  if (taken.device === 'cuda' && (taken.weights ?? 'f16') !== 'f16')
    throw new StartupError(
      `--weights ${weights}: on CUDA the onnx engine takes f16, ONNX Runtime's attention there has no f32. See --help.`,
    )
  const usual = taken.device === 'cuda' ? 'f16' : model === EMBEDDED_MODEL ? 'f32' : 'int8'
  return { engine, device: taken.device, weightFormat: taken.weights ?? usual }
}

function parseTaken<T>(schema: z.ZodMiniType<T>, engine: string, given: Pick<Flags, 'device' | 'weights'>): T {
  const parsed = schema.safeParse(given)
  if (parsed.success) return parsed.data
  const [issue] = parsed.error.issues
  const flag = issue?.path[0] === 'device' ? 'device' : 'weights'
  const values = issue?.code === 'invalid_value' ? issue.values.join(', ') : 'others'
  throw new StartupError(`--${flag} ${given[flag]}: the ${engine} engine takes ${values}. See --help.`)
}

/** @throws StartupError where an option has no effect beside the others */
function checkUse(given: Readonly<Record<string, unknown>>, options: Flags, vllmArguments: readonly string[]): void {
  const isOwn = options.engine === 'vllm' && options['vllm-url'].length === 0
  const unused = [
    ...(options.engine === 'vllm' ? [] : ['vllm-url', 'vllm-shared-dir', 'max-loras']),
    ...(isOwn ? [] : ['vllm-command']),
  ].find((name) => given[name] !== undefined)
  const needs = options.engine === 'vllm' ? 'no --vllm-url' : '--engine vllm'
  if (unused) throw new StartupError(`--${unused} has an effect with ${needs} only. See --help.`)
  if (vllmArguments.length === 0 || isOwn) return
  throw new StartupError(`What follows -- is for a vLLM started here: it has an effect with ${needs} only. See --help.`)
}

/** @throws StartupError where anybody on the network could give a server adapters */
function checkUrls(options: Flags, apiKey: string | undefined): void {
  const open = options['vllm-url'].find((url) => !/^(127\.|localhost$|\[::1\]$)/.test(new URL(url).hostname))
  if (open === undefined || apiKey) return
  throw new StartupError(
    `--vllm-url ${open}: a server beyond this machine takes adapters only with a key: start it with --api-key and set POLYLORA_VLLM_API_KEY.`,
  )
}

function readFlags(args: readonly string[]): Record<string, string | boolean | readonly string[] | undefined> {
  const names = Object.keys(Flags.shape)
  const options = Object.fromEntries(
    names.map((name) => [name, { type: 'string' as const, multiple: name === 'vllm-url' }]),
  )
  try {
    return parseArgs({ args: [...args], options: { ...options, help: { type: 'boolean', short: 'h' } }, strict: true })
      .values
  } catch (error) {
    throw new StartupError(`${(error as Error).message.split(/\.\s/)[0]}. See --help.`)
  }
}

function parseBytes(text: string): number {
  const [, digits, unit] = /^([\d.]+)\s*(\w*)$/.exec(text) ?? []
  const scale = { '': 1, KB: 1e3, MB: 1e6, GB: 1e9, TB: 1e12 }[(unit ?? '').toUpperCase()] ?? 1
  return Math.floor(Number(digits) * scale)
}
