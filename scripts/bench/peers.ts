// The peers on the same weights, adapters, prompt and lengths: vLLM's server and its engine alone, PEFT's mixed batch,
// llama.cpp.
// Reads what scripts/bench/peers/setup.sh made; knows their programs, not their insides.
import { execFile } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { CliError } from '../cli-error.ts'
import { type Contender, type Mode, processContender } from './contender.ts'
import { startVllmServer } from './vllm-server.ts'

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
  readonly contextTokens: number
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

export class Peers {
  readonly #options: PeerOptions
  readonly #skipped: (line: string) => void

  private constructor(options: PeerOptions, skipped: (line: string) => void) {
    this.#options = options
    this.#skipped = skipped
  }

  /** Writes the model and the adapters as they read them. `skipped` is told which of them does not start, and why. */
  static async prepare(options: PeerOptions, skipped: (line: string) => void): Promise<Peers> {
    const { venv, workDir, model, deltas, rank } = options
    for (const [i, bytes] of deltas.entries()) writeAdapter(join(workDir, `adapter-${i}`), bytes, rank)
    await promisify(execFile)(pythonOf(venv), [join(SCRIPTS, 'prepare.py'), model, workDir])
    return new Peers(options, skipped)
  }

  /**
   * Runs `work` beside those that are compared in `mode`, or the one of them that `only` names, and stops them: all of all
   * modes would not fit into the memory together.
   */
  async during<Result>(
    mode: Mode,
    work: (peers: readonly Contender[]) => Promise<Result>,
    only?: string,
  ): Promise<Result> {
    const started: Contender[] = []
    try {
      for (const [name, start] of Object.entries(this.#starts(mode))) {
        if (only !== undefined && name !== only) continue
        try {
          started.push(await start(name))
        } catch (error) {
          this.#skipped(`${name} is skipped: ${error instanceof Error ? error.message : String(error)}`)
        }
      }
      return await work(started)
    } finally {
      for (const contender of started) await contender.stop()
    }
  }

  #starts(mode: Mode): Starts {
    if (mode === 'one shared') return {}
    return mode === 'bare base' ? this.#bare() : this.#different()
  }

  #bare(): Starts {
    return {
      vLLM: (name) => this.#vllmServer(name, false),
      'vLLM engine': (name) => this.#vllmEngine(name, false),
      'llama.cpp': (name) => this.#llama(name, this.#crowds()),
    }
  }

  #different(): Starts {
    const { venv, workDir, deltas, streams } = this.#options
    const args = [join(SCRIPTS, 'peft_peer.py'), workDir, String(deltas.length)]
    const most = streams.filter((count) => count >= 32)
    return {
      'vLLM with LoRA': (name) => this.#vllmServer(name, true),
      'vLLM engine with LoRA': (name) => this.#vllmEngine(name, true),
      PEFT: (name) => this.#process(name, most, [pythonOf(venv), ...args]),
      // One by one, more streams only take longer.
      'llama.cpp': (name) => this.#llama(name, this.#crowds().slice(0, 1)),
    }
  }

  /** As its users run it. */
  #vllmServer(name: string, withLora: boolean): Promise<Contender> {
    const { deltas, streams } = this.#options
    const options = { ...this.#options, rows: deltas.length, dtype: bestType(), withLora }
    return startVllmServer({ name, streams: withLora ? this.#crowds() : streams }, options)
  }

  /** At its best: on every core, in a process that does nothing else. */
  #vllmEngine(name: string, withLora: boolean): Promise<Contender> {
    const { venv, workDir, deltas, streams } = this.#options
    const args = [join(SCRIPTS, 'vllm_peer.py'), workDir, String(deltas.length), withLora ? 'lora' : 'bare']
    return this.#process(name, withLora ? this.#crowds() : streams, [pythonOf(venv), ...args])
  }

  #llama(name: string, streams: readonly number[]): Promise<Contender> {
    const { venv, workDir, model, deltas } = this.#options
    const args = [join(SCRIPTS, 'llama-cpp-peer.mjs'), join(venv, 'node'), model, workDir, String(deltas.length)]
    return this.#process(name, streams, [process.execPath, ...args, String(availableParallelism())])
  }

  #process(name: string, streams: readonly number[], command: readonly [string, ...string[]]): Promise<Contender> {
    return processContender({ name, streams }, command, { PEER_DTYPE: bestType() })
  }

  #crowds(): readonly number[] {
    return this.#options.streams.filter((count) => count >= 8)
  }
}

type Starts = Readonly<Record<string, (name: string) => Promise<Contender>>>

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
