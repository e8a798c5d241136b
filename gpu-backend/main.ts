// The backend's process: options in, an engine and a server out, and a clean end. It alone picks the engine.
import { accessSync, constants, mkdirSync } from 'node:fs'
import { enableCompileCache } from 'node:module'
import { constants as osConstants } from 'node:os'
import { join } from 'node:path'
import { importCapabilityKey } from './capability.ts'
import { type Config, HELP, parseConfig } from './config.ts'
import type { Engine, EngineOptions } from './engine/engine.ts'
import { StartupError } from './errors.ts'
import { type LogFields, log } from './log.ts'
import { Metrics } from './metrics.ts'
import { isDiskFull } from './residency/full-disk.ts'
import { createBackendServer } from './server.ts'

const SIGNALS = ['SIGINT', 'SIGTERM'] as const
/** Answers that still run when the process is asked to end get this long. */
const DRAIN_MS = 30_000
/** How often it is looked whether the engine is dead. */
const ALIVE_CHECK_MS = 1000

async function main(): Promise<void> {
  const config = parseConfig(process.argv.slice(2), process.env)
  if (!config) {
    process.stdout.write(HELP)
    return
  }
  makeDataDir(config['data-dir'])
  // In a container the process has the id 1, which no signal ends that it does not listen for.
  const leave = (signal: NodeJS.Signals) => process.exit(128 + osConstants.signals[signal])
  if (process.pid === 1) for (const signal of SIGNALS) process.once(signal, leave)
  // The next start does not strip and compile the engine's modules again.
  enableCompileCache(join(config['data-dir'], 'code'))
  const engine = await startEngine(config).catch((error: unknown) => {
    if (!isDiskFull(error)) throw error
    throw new StartupError(`The disk of ${config['data-dir']} is full: free some of it or name another --data-dir.`)
  })
  const { http, drain } = createBackendServer(engine, await importCapabilityKey(config.secret), new Metrics(engine))
  await new Promise<void>((resolve, reject) => {
    http.once('error', (error: NodeJS.ErrnoException) => {
      const reason =
        error.code === 'EADDRINUSE' ? 'another program listens there; choose another with --port' : error.message
      reject(new StartupError(`Cannot listen on ${config.host}:${config.port}: ${reason}.`))
    })
    http.listen(config.port, config.host, resolve)
  })
  const address = http.address()
  const port = typeof address === 'object' && address ? address.port : config.port
  log('info', 'listening', {
    url: `http://${config.host}:${port}`,
    base: engine.info.base.fingerprint,
    device: config.device,
  })

  const end = async (status: 0 | 1, why: LogFields) => {
    clearInterval(watching)
    log('info', 'draining', why)
    const forced = setTimeout(() => process.exit(1), DRAIN_MS)
    await drain()
    await engine.close()
    clearTimeout(forced)
    log('info', 'stopped')
    process.exit(status)
  }
  // It can do nothing but say so. Whatever looks after processes starts one again that has ended, and few do one that is unwell.
  const watching = setInterval(() => {
    if (!isAlive(engine)) void end(1, { reason: 'the engine is dead' })
  }, ALIVE_CHECK_MS)
  for (const signal of SIGNALS) process.off(signal, leave).once(signal, () => void end(0, { signal }))
}

function isAlive(engine: Engine): boolean {
  try {
    engine.checkAlive()
    return true
  } catch {
    return false
  }
}

/** @throws StartupError where nothing can be kept in it: found out now, not in the middle of building a graph */
function makeDataDir(path: string): void {
  try {
    mkdirSync(path, { recursive: true })
    accessSync(path, constants.W_OK)
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    throw new StartupError(`Nothing can be written to ${path} (${code}): name another folder with --data-dir.`)
  }
}

/** vLLM's names of our weights. */
const DTYPES = { f32: 'float32', f16: 'float16', bf16: 'bfloat16' }

/** Only the modules of the engine that runs are loaded. */
async function startEngine(config: Config): Promise<Engine> {
  const progress = (line: string) => log('info', 'starting', { step: line })
  const options: EngineOptions = {
    modelPath: config.model,
    modelName: config.modelName,
    dataDir: config['data-dir'],
    memoryBytes: config.memory,
    maxBatch: config['max-batch'],
    contextTokens: config.context,
    diskBytes: config.disk,
    maxDeltaBytes: config['max-adapter-size'],
    maxRank: config.maxRank,
    maxQueue: config['max-queue'],
  }
  if (config.engine === 'vllm') {
    const { VllmEngine } = await import('./engine/vllm/vllm-engine.ts')
    const urls = config['vllm-url']
    return VllmEngine.start(
      {
        ...options,
        server:
          urls.length > 0
            ? { kind: 'running', addresses: urls.map((url) => ({ url })), apiKey: config.vllmApiKey }
            : { kind: 'own', command: config['vllm-command'], more: config.vllmArguments },
        dtype: config.weightFormat && DTYPES[config.weightFormat],
        device: config.device,
        maxLoras: config['max-loras'],
        sharedDir: config['vllm-shared-dir'],
      },
      progress,
    )
  }
  const { startOnnxEngine } = await import('./engine/onnx/start-onnx-engine.ts')
  const { weightFormat: weights, device, threads } = config
  return startOnnxEngine({ ...options, weights, device, threads, ownCore: true }, progress)
}

main().catch((error: unknown) => {
  const known = error instanceof StartupError
  process.stderr.write(`${known ? error.message : error instanceof Error ? error.stack : String(error)}\n`)
  process.exit(1)
})
