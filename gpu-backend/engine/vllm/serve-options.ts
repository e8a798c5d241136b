// The command line of a vLLM server of our own, from our options. Pure.
// Invariant: what the engine relies on is set here and cannot be given twice.
import { StartupError } from '../../errors.ts'

/** Ranks that vLLM has kernels for; memory for each adapter in the batch follows the chosen one. */
const VLLM_RANKS = [1, 8, 16, 32, 64, 128, 256, 320, 512]
const RESERVED = new Set([
  ...['--model', '--served-model-name', '--host', '--port', '--uds', '--api-key', '--dtype', '--max-model-len'],
  ...['--max-num-seqs', '--enable-lora', '--max-loras', '--max-cpu-loras', '--max-lora-rank', '--generation-config'],
  ...['--structured-outputs-config', '--structured-outputs-config.backend'],
])

export interface ServeOptions {
  readonly modelPath: string
  readonly contextTokens: number
  readonly maxBatch: number
  /** Adapters in one batch. */
  readonly maxLoras: number
  /** Adapters in host memory. */
  readonly maxCpuLoras: number
  readonly maxRank: number
  /** vLLM's name of a type; undefined: the model's own. */
  readonly dtype: string | undefined
  /** undefined: vLLM's own choice. */
  readonly kvCacheBytes: number | undefined
  /** Arguments for vLLM that we know nothing of. */
  readonly more: readonly string[]
}

/** The smallest rank of vLLM's that holds `rank`. @throws StartupError where none does */
export function vllmRank(rank: number): number {
  const found = VLLM_RANKS.find((allowed) => allowed >= rank)
  if (found !== undefined) return found
  throw new StartupError(`--max-rank ${rank}: vLLM applies adapters up to rank ${VLLM_RANKS.at(-1)}.`)
}

/** Arguments after `vllm serve`. @throws StartupError where `more` sets what is set here */
export function serveArguments(options: ServeOptions): string[] {
  const clash = options.more.find((argument) => RESERVED.has(argument.split('=', 1)[0]!))
  if (clash) throw new StartupError(`${clash} after --: this backend sets it by its own options, see --help.`)
  const flags: Readonly<Record<string, string | number | undefined>> = {
    '--dtype': options.dtype,
    '--max-model-len': options.contextTokens,
    '--max-num-seqs': options.maxBatch,
    '--max-loras': options.maxLoras,
    '--max-cpu-loras': options.maxCpuLoras,
    '--max-lora-rank': vllmRank(options.maxRank),
    '--kv-cache-memory-bytes': options.kvCacheBytes,
    // Sampling comes with each request, never from the model's directory.
    '--generation-config': 'vllm',
    // By itself, vLLM takes another for all requests where the first has a schema that xgrammar refuses.
    '--structured-outputs-config.backend': 'xgrammar',
  }
  return [
    options.modelPath,
    ...Object.entries(flags).flatMap(([flag, value]) => (value === undefined ? [] : [flag, String(value)])),
    ...['--enable-lora', '--enable-prompt-tokens-details', '--disable-uvicorn-access-log', '--no-enable-log-requests'],
    ...options.more,
  ]
}
