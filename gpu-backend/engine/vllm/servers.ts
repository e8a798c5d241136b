// The vLLM servers behind one engine: one of our own, started and looked after, or those that run already.
// Knows no requests. Invariant: a server that is not the right one is never used, and what was started here ends here.
import { resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { type BaseModel, projectionValues } from '../../../adapters/base-model.ts'
import { StartupError } from '../../errors.ts'
import type { Tokenizer } from '../../model/tokenizer.ts'
import { mergeExpositions } from './exposition.ts'
import { Replica } from './replica.ts'
import { serveArguments } from './serve-options.ts'
import { checkServer } from './server-check.ts'
import type { SharedAdapter } from './shared-adapters.ts'
import { type VllmAddress, VllmClient, VllmLost } from './vllm-client.ts'
import { requireCommand, VllmProcess } from './vllm-process.ts'

export interface ServersOptions {
  /** A server of our own, or those that run already. */
  readonly server:
    | { readonly kind: 'own'; readonly command: string; readonly more: readonly string[] }
    | { readonly kind: 'running'; readonly addresses: readonly VllmAddress[]; readonly apiKey: string | undefined }
  /** A Hugging Face directory: the one that the servers serve. */
  readonly modelPath: string
  readonly base: BaseModel
  readonly tokenizer: Tokenizer
  readonly contextTokens: number
  /** vLLM's name of a type; undefined: the model's own. */
  readonly dtype: string | undefined
  /** `cpu` where vLLM is its build for CPUs. */
  readonly device: 'cpu' | 'cuda'
  /** Host memory for deltas; on a CPU, half of it for the KV cache. */
  readonly memoryBytes: number
  /** Sequences on one server at once. */
  readonly maxBatch: number
  /** Different deltas in one batch. */
  readonly maxLoras: number
  readonly maxRank: number
  /** The directory that the servers see under the same path. */
  readonly sharedDir: string
  readonly dataDir: string
  readonly findAdapter: (digest: string) => SharedAdapter | undefined
  /** A server has become well or unwell. */
  readonly onChange: () => void
}

/** A large model takes minutes to load. */
const MAX_START_MS = 30 * 60_000
const START_POLL_MS = 100
const OWN_ENVIRONMENT = { VLLM_ALLOW_RUNTIME_LORA_UPDATING: '1', VLLM_NO_USAGE_STATS: '1' }

export class Servers {
  readonly replicas: readonly Replica[]
  readonly #process: VllmProcess | undefined
  #fixedModules: readonly string[] = []

  /** Nothing runs before `start`. @throws StartupError where the options cannot be used */
  constructor(options: ServersOptions) {
    const { server } = options
    if (server.kind === 'own') {
      this.#process = ownProcess(options, server, () => this.replicas[0]?.lost(new VllmLost('the server has ended')))
      const client = new VllmClient({ socketPath: this.#process.socketPath }, this.#process.apiKey)
      this.replicas = [this.#replica('vllm', client, options)]
    } else {
      this.replicas = server.addresses.map((address) =>
        this.#replica(nameOf(address), new VllmClient(address, server.apiKey), options),
      )
    }
  }

  /** Modules, by `targetName`, that the servers cannot change. */
  get fixedModules(): readonly string[] {
    return this.#fixedModules
  }

  get areReady(): boolean {
    return this.replicas.some(({ isReady }) => isReady)
  }

  /** Resolves when one server is ready. @throws StartupError where one is the wrong one, ends at once, or none comes */
  async start(progress: (line: string) => void): Promise<void> {
    let hasEnded = false
    void this.#process?.run().then(() => {
      hasEnded = true
    })
    for (const replica of this.replicas) void replica.watch()
    const startedMs = Date.now()
    try {
      for (let said = ''; !this.areReady; said = this.#tell(said, progress)) {
        const wrong = this.replicas.map(({ unwell }) => unwell).find((reason) => reason instanceof StartupError)
        if (wrong) throw wrong
        if (hasEnded) throw new StartupError(`vLLM ended before it could be used: ${this.#process?.exitReason}.`)
        if (Date.now() - startedMs > MAX_START_MS)
          throw new StartupError(`No vLLM server came up in ${MAX_START_MS / 60_000} minutes: ${said}.`)
        await sleep(START_POLL_MS)
      }
    } catch (error) {
      await this.close()
      throw error
    }
  }

  async unload(adapter: SharedAdapter): Promise<void> {
    await Promise.all(this.replicas.map((replica) => replica.adapters.unload(adapter)))
  }

  /** vLLM's figures, of the servers that are ready. */
  async metrics(): Promise<string> {
    const ready = this.replicas.filter(({ isReady }) => isReady)
    const expositions = ready.map(async ({ name, client }) => ({
      replica: name,
      text: await client.metrics().catch(() => ''),
    }))
    return mergeExpositions(await Promise.all(expositions))
  }

  async close(): Promise<void> {
    for (const replica of this.replicas) replica.close()
    await this.#process?.close()
  }

  #replica(name: string, client: VllmClient, options: ServersOptions): Replica {
    return new Replica({
      name,
      client,
      adapterCapacity: adapterCapacity(options),
      check: async () => {
        const checked = await checkServer(client, name, { ...options, baseAsAdapter: options.device === 'cpu' })
        this.#fixedModules = checked.fixedModules
        return checked.baseName
      },
      findAdapter: options.findAdapter,
      onChange: () => {
        if (this.#process && this.areReady) this.#process.foundWell()
        options.onChange()
      },
      onHung: () => this.#process?.hangs(),
    })
  }

  /** Says what is waited for, where that is not what was said before. */
  #tell(said: string, progress: (line: string) => void): string {
    const reasons = this.replicas.map(
      ({ name, unwell }) => `${name} (${unwell instanceof Error ? unwell.message : 'asked'})`,
    )
    const now = `waiting for ${reasons.join(', ')}`
    if (now !== said) progress(now)
    return now
  }
}

function ownProcess(
  options: ServersOptions,
  { command, more }: Extract<ServersOptions['server'], { kind: 'own' }>,
  onExit: () => void,
): VllmProcess {
  requireCommand(command, process.env.PATH)
  const onCpu = options.device === 'cpu'
  // One more where the bare base is an adapter as well.
  const extra = onCpu ? 1 : 0
  const args = serveArguments({
    modelPath: resolve(options.modelPath),
    contextTokens: options.contextTokens,
    maxBatch: options.maxBatch,
    maxLoras: options.maxLoras + extra,
    maxCpuLoras: adapterCapacity(options) + extra,
    maxRank: options.maxRank,
    dtype: options.dtype,
    kvCacheBytes: onCpu ? Math.floor(options.memoryBytes / 2) : undefined,
    more,
  })
  return new VllmProcess({ command, args, env: OWN_ENVIRONMENT, onExit })
}

/** Deltas that a server keeps in host memory: of the largest rank, on every projection, in f32. */
function adapterCapacity({ device, memoryBytes, base, maxRank, maxLoras }: ServersOptions): number {
  // On a CPU half of the memory is the KV cache's.
  const bytes = device === 'cpu' ? memoryBytes / 2 : memoryBytes
  const adapterBytes = projectionValues(base, maxRank) * Float32Array.BYTES_PER_ELEMENT
  return Math.max(maxLoras, Math.floor(bytes / adapterBytes))
}

function nameOf(address: VllmAddress): string {
  return 'url' in address ? new URL(address.url).host : address.socketPath
}
