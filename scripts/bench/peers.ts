// The peers on the same weights, adapters, prompt and lengths: vLLM's CPU engine, PEFT's mixed batch, llama.cpp.
// Reads what scripts/bench/peers/setup.sh made; knows their programs, not their insides.
import { execFile } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { CliError } from '../cli-error.ts'
import { type Contender, processContender } from './contender.ts'

const SCRIPTS = fileURLToPath(new URL('./peers', import.meta.url))

export interface PeerOptions {
  /** The folder that setup.sh made. */
  readonly venv: string
  /** Where the model and the adapters are put for them. */
  readonly workDir: string
  /** A Hugging Face directory or a GGUF file. */
  readonly model: string
  /** Canonical deltas, which are PEFT's own format, by adapter. */
  readonly deltas: readonly Uint8Array[]
  readonly rank: number
  readonly streams: readonly number[]
}

/** Throws CliError where setup.sh has made nothing in the folder. */
export function requirePeers(venv: string): void {
  if (existsSync(pythonOf(venv))) return
  throw new CliError(
    `--peers ${venv}: there is no ${pythonOf(venv)}; run sh scripts/bench/peers/setup.sh ${venv} first.`,
    2,
  )
}

function pythonOf(venv: string): string {
  return join(venv, 'bin', 'python')
}

/** Starts every peer; one that does not start is left out, and `skipped` is told why. */
export async function startPeers(options: PeerOptions, skipped: (line: string) => void): Promise<Contender[]> {
  const { venv, workDir, model, deltas, rank, streams } = options
  for (const [i, bytes] of deltas.entries()) writeAdapter(join(workDir, `adapter-${i}`), bytes, rank)
  const python = pythonOf(venv)
  await promisify(execFile)(python, [join(SCRIPTS, 'prepare.py'), model, workDir])
  const [rows, dtype] = [String(deltas.length), { PEER_DTYPE: bestType() }]
  const crowds = streams.filter((count) => count >= 8)
  const vllm = join(SCRIPTS, 'vllm_peer.py')
  const llama = [join(SCRIPTS, 'llama-cpp-peer.mjs'), join(venv, 'node'), model, workDir, rows]
  const peers: [Parameters<typeof processContender>[0], [string, ...string[]]][] = [
    [{ name: 'vLLM', modes: ['bare base'], streams: () => streams }, [python, vllm, workDir, rows, 'bare']],
    [
      { name: 'vLLM with LoRA', modes: ['all different'], streams: () => crowds },
      [python, vllm, workDir, rows, 'lora'],
    ],
    [
      { name: 'PEFT', modes: ['all different'], streams: () => streams.filter((count) => count >= 32) },
      [python, join(SCRIPTS, 'peft_peer.py'), workDir, rows],
    ],
    [
      // One by one, more streams only take longer.
      {
        name: 'llama.cpp',
        modes: ['bare base', 'all different'],
        streams: (mode) => (mode === 'bare base' ? crowds : crowds.slice(0, 1)),
      },
      [process.execPath, ...llama, String(availableParallelism())],
    ],
  ]
  const started: Contender[] = []
  for (const [description, command] of peers) {
    try {
      started.push(await processContender(description, command, dtype))
    } catch (error) {
      skipped(`${description.name} is skipped: ${error instanceof Error ? error.message : String(error)}`)
    }
  }
  return started
}

/** The number type that torch is fastest in: without AVX-512's bf16 it converts every product. */
function bestType(): string {
  return /\bavx512_bf16\b/.test(readFileSync('/proc/cpuinfo', 'utf8')) ? 'bfloat16' : 'float32'
}

function writeAdapter(dir: string, bytes: Uint8Array, rank: number): void {
  const modules = ['q_proj', 'k_proj', 'v_proj', 'o_proj', 'gate_proj', 'up_proj', 'down_proj']
  mkdirSync(dir, { recursive: true })
  writeFileSync(join(dir, 'adapter_model.safetensors'), bytes)
  const config = { peft_type: 'LORA', task_type: 'CAUSAL_LM', r: rank, lora_alpha: rank, target_modules: modules }
  writeFileSync(join(dir, 'adapter_config.json'), JSON.stringify(config))
}
