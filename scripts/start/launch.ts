// How the two servers are started on this machine: their commands, their environment, their log files.
import { mkdirSync } from 'node:fs'
import { createRequire } from 'node:module'
import { devNull } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { CliError } from '../cli-error.ts'
import { ServerProcess } from './server-process.ts'

export const HOST = '127.0.0.1'
/** Opens the admin API of a server that listens on this machine only. */
export const LOCAL_ADMIN_KEY = 'dev-admin'
const START_TIMEOUT_MS = 120_000
/** A large model reads its calibration text without a word. */
const BACKEND_START_TIMEOUT_MS = 10 * 60_000
/** vLLM compiles what it will run; how long is up to it, and that it fails is told by the backend. */
const VLLM_START_TIMEOUT_MS = 30 * 60_000
const REPOSITORY = fileURLToPath(new URL('../..', import.meta.url))
export const WRANGLER = join(
  dirname(createRequire(import.meta.url).resolve('wrangler/package.json')),
  'wrangler-dist/cli.js',
)

/** Nothing that is started here may go out to the network. */
export const OFFLINE = {
  WRANGLER_SEND_METRICS: 'false',
  WRANGLER_HIDE_BANNER: 'true',
  CLOUDFLARE_CF_FETCH_ENABLED: 'false',
  NO_UPDATE_NOTIFIER: '1',
  NO_COLOR: '1',
}

interface Launch {
  readonly backendPort: number
  /** An absolute path. */
  readonly state: string
  /** Shared by the two, in the environment only. */
  readonly secret: string
}

interface BackendLaunch extends Launch {
  readonly model?: string | undefined
  readonly weights?: string | undefined
  readonly device?: string | undefined
  readonly engine?: string | undefined
  readonly backendOptions?: readonly string[]
}

interface EdgeLaunch extends Launch {
  readonly port: number
}

export function launchBackend(launch: BackendLaunch): ServerProcess {
  const { backendPort, state, secret, backendOptions = [] } = launch
  const dataDir = join(state, 'backend')
  makeFolder(dataDir)
  const passedOn = (['model', 'weights', 'device', 'engine'] as const).flatMap((name) => {
    const value = launch[name]
    return value === undefined ? [] : [`--${name}`, value]
  })
  const main = join(REPOSITORY, 'gpu-backend/main.ts')
  return new ServerProcess({
    title: 'The GPU backend',
    args: [main, '--host', HOST, '--port', String(backendPort), '--data-dir', dataDir, ...passedOn, ...backendOptions],
    cwd: REPOSITORY,
    env: { ...process.env, POLYLORA_BACKEND_SECRET: secret },
    logFile: join(logFolder(state), 'backend.log'),
    startTimeoutMs: launch.engine === 'vllm' ? VLLM_START_TIMEOUT_MS : BACKEND_START_TIMEOUT_MS,
  })
}

export function launchEdge({ port, backendPort, state, secret }: EdgeLaunch): ServerProcess {
  return new ServerProcess({
    title: 'The edge',
    args: [
      '--no-warnings',
      WRANGLER,
      'dev',
      ...['--config', join(REPOSITORY, 'wrangler.toml'), '--ip', HOST, '--port', String(port), '--inspector-port', '0'],
      ...['--persist-to', join(state, 'edge'), '--var', `BACKENDS:http://${HOST}:${backendPort}`],
      ...['--var', `POLYLORA_ADMIN_KEY:${LOCAL_ADMIN_KEY}`, '--var', 'LOCAL_ONLY:1'],
      // No file of secrets: the one there is comes through the environment, as wrangler.toml's [secrets] says.
      ...['--env-file', devNull, '--show-interactive-dev-session=false'],
    ],
    cwd: REPOSITORY,
    env: { ...process.env, ...OFFLINE, POLYLORA_BACKEND_SECRET: secret },
    logFile: join(logFolder(state), 'edge.log'),
    startTimeoutMs: START_TIMEOUT_MS,
  })
}

function logFolder(state: string): string {
  const folder = join(state, 'logs')
  makeFolder(folder)
  return folder
}

/** @throws CliError where something else is in its place, or it may not be made */
export function makeFolder(path: string): void {
  try {
    mkdirSync(path, { recursive: true })
  } catch (error) {
    const reason = error instanceof Error && 'code' in error ? error.code : String(error)
    throw new CliError(`${path} cannot be created (${reason}): move what is in its place or give --state DIR.`)
  }
}
