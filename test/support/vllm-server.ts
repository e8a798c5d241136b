// Where a real vLLM is on this machine, and a server of it for a whole test file.
import { existsSync, mkdtempSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll } from 'vitest'
import { serveArguments } from '../../gpu-backend/engine/vllm/serve-options.ts'
import { VllmEngine, type VllmEngineOptions } from '../../gpu-backend/engine/vllm/vllm-engine.ts'
import { VllmProcess } from '../../gpu-backend/engine/vllm/vllm-process.ts'
import { VLLM_COMMAND } from '../../scripts/vllm-dir.ts'
import { temporaryDir } from './temporary-dir.ts'

/** What the test's server is started with; engines that connect to it may ask for less. */
export const SERVER = { contextTokens: 512, maxBatch: 8, maxLoras: 8, maxCpuLoras: 64, maxRank: 32 }

/**
 * By itself a vLLM binds its threads to the same core as every other one does: here several share two cores with other tests.
 * And it has its worker in a process of its own, which takes long to start; the last variable lets `QUICK_START` say otherwise.
 */
export const SHARED_CORES = {
  VLLM_CPU_OMP_THREADS_BIND: 'nobind',
  OMP_NUM_THREADS: '1',
  VLLM_ENABLE_V1_MULTIPROCESSING: '0',
}
/** Nothing is compiled, and the worker is no process of its own. */
export const QUICK_START = ['--enforce-eager', '--distributed-executor-backend', 'uni']

/** The `vllm` command, as POLYLORA_VLLM names it or scripts/install-vllm.ts installs it; undefined where there is none. */
export function tryFindVllm(): string | undefined {
  const command = process.env.POLYLORA_VLLM ?? VLLM_COMMAND
  if (existsSync(command)) return command
  process.stderr.write(
    `\nNOT TESTED: the vllm engine. There is no vLLM at ${command}: run "npx node scripts/install-vllm.ts" or name one in POLYLORA_VLLM.\n\n`,
  )
  return undefined
}

/** Engines of vLLM in f32, closed when the test file ends. */
export function vllmEngines() {
  const root = temporaryDir()
  const engines: VllmEngine[] = []
  afterAll(async () => {
    for (const engine of engines) await engine.close()
  })
  return {
    root,
    async start(options: Partial<VllmEngineOptions> & Pick<VllmEngineOptions, 'modelPath' | 'server'>) {
      const engine = await VllmEngine.start(
        {
          modelName: 'tested',
          dataDir: mkdtempSync(join(root, 'data-')),
          dtype: 'float32',
          device: 'cpu',
          memoryBytes: 512e6,
          maxBatch: SERVER.maxBatch,
          maxLoras: SERVER.maxLoras,
          maxRank: SERVER.maxRank,
          contextTokens: SERVER.contextTokens,
          diskBytes: 1e9,
          maxDeltaBytes: 1e9,
          maxQueue: 200,
          sharedDir: undefined,
          ...options,
        },
        () => {},
      )
      engines.push(engine)
      return engine
    },
  }
}

/** A server of `modelPath`, started for the first engine that connects to it; all gone when the test file ends. */
export function vllmServer(command: string, modelPath: string) {
  const { root, start } = vllmEngines()
  const args = serveArguments({
    ...SERVER,
    // One more, for the bare base.
    maxLoras: SERVER.maxLoras + 1,
    modelPath,
    dtype: 'float32',
    kvCacheBytes: 256e6,
    // Only whole blocks are found again: of 128 tokens on a CPU, which the suite's prompts do not have.
    more: [...QUICK_START, '--block-size', '32'],
  })
  const env = { VLLM_ALLOW_RUNTIME_LORA_UPDATING: '1', VLLM_NO_USAGE_STATS: '1', ...SHARED_CORES }
  let server: VllmProcess | undefined
  /** Rejects when the server ends: what connects to it would wait for it in vain. */
  let failed: Promise<never>
  const running = () => {
    if (server) return server
    const made = new VllmProcess({ command, args, env, onExit: () => {} })
    failed = made.run().then(() => Promise.reject(new Error(`vLLM ended: ${made.exitReason}`)))
    failed.catch(() => {})
    server = made
    return server
  }
  afterAll(() => server?.close())
  return {
    root,
    get socketPath() {
      return running().socketPath
    },
    connect(options: Partial<VllmEngineOptions> = {}): Promise<VllmEngine> {
      const { socketPath, apiKey } = running()
      const connected = start({
        modelPath,
        server: { kind: 'running', addresses: [{ socketPath }], apiKey },
        ...options,
      })
      return Promise.race([connected, failed])
    },
    /** An engine that knows the server by several addresses, as if it were as many. */
    connectBy(socketPaths: readonly string[]): Promise<VllmEngine> {
      const addresses = socketPaths.map((socketPath) => ({ socketPath }))
      return start({ modelPath, server: { kind: 'running', addresses, apiKey: running().apiKey } })
    },
  }
}
