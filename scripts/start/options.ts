// The options of `npm start` and their help. Knows nothing of what is started.
import { resolve } from 'node:path'
import { CliError } from '../cli-error.ts'
import { parseOptions } from '../parse-flags.ts'

export interface StartOptions {
  readonly port: number
  readonly backendPort: number
  /** Folder of everything that is kept between starts. */
  readonly state: string
  /** Passed on to the backend where given. */
  readonly model: string | undefined
  readonly weights: string | undefined
  readonly device: string | undefined
  readonly engine: string | undefined
  /** Options of the backend itself, passed on as they are. */
  readonly backendOptions: readonly string[]
  /** Start, publish, serve; ask nothing. */
  readonly demo: boolean
}

const DEFAULTS = { port: 8787, backendPort: 8788, state: '.polylora' }

export const START_HELP = `npm start -- [options] [-- options of gpu-backend/main.ts]

Starts the GPU backend and the edge on this machine, publishes the sample adapters, asks them all one question at once,
and keeps serving until Ctrl-C. Needs no network.

  --port N           the edge's port (default ${DEFAULTS.port})
  --backend-port N   the backend's port (default ${DEFAULTS.backendPort})
  --state DIR        where everything local is kept (default ${DEFAULTS.state})
  --model PATH       a base model, a Hugging Face directory or a .gguf file (default: the embedded one, which the
                     samples are for)
  --weights KIND     f32, f16, int8 or int4; with vllm f32, f16 or bf16
  --device KIND      cpu, webgpu or cuda
  --engine KIND      onnx or vllm (see gpu-backend/README.md)
  --no-demo          do not ask the question
  --help             show this help
`

/**
 * `folder` is where a relative `--model` begins.
 * @throws CliError (exit code 2) where the command line makes no sense; undefined where help was asked for
 */
export function parseStartOptions(argv: readonly string[], folder: string): StartOptions | undefined {
  const end = argv.includes('--') ? argv.indexOf('--') : argv.length
  const values = parse(argv.slice(0, end))
  if (values.help) return undefined
  const options = {
    port: parsePort('--port', values.port, DEFAULTS.port),
    backendPort: parsePort('--backend-port', values['backend-port'], DEFAULTS.backendPort),
    state: values.state ?? DEFAULTS.state,
    model: values.model && resolve(folder, values.model),
    weights: values.weights,
    device: values.device,
    engine: values.engine,
    backendOptions: argv.slice(end + 1),
    demo: !values['no-demo'],
  }
  refuseAddress(options.backendOptions)
  if (options.port !== options.backendPort) return options
  throw new CliError(`--port and --backend-port are both ${options.port}: give them different numbers.`, 2)
}

/** The backend would listen where nobody asks for it. */
function refuseAddress(backendOptions: readonly string[]): void {
  const end = backendOptions.includes('--') ? backendOptions.indexOf('--') : backendOptions.length
  const address = backendOptions.slice(0, end).find((option) => /^--(host|port)(=|$)/.test(option))
  if (address === undefined) return
  throw new CliError(`${address} cannot follow --: the backend listens on this machine, at --backend-port.`, 2)
}

function parse(argv: readonly string[]) {
  const text = { type: 'string' } as const
  const options = {
    port: text,
    'backend-port': text,
    state: text,
    model: text,
    weights: text,
    device: text,
    engine: text,
    'no-demo': { type: 'boolean' },
    help: { type: 'boolean', short: 'h' },
  } as const
  return parseOptions({ args: [...argv], options }, 'npm start -- --help').values
}

function parsePort(option: string, value: string | undefined, fallback: number): number {
  if (value === undefined) return fallback
  if (/^\d{1,5}$/.test(value) && Number(value) >= 1 && Number(value) <= 65535) return Number(value)
  throw new CliError(`${option} ${value} is not a port: give a number from 1 to 65535.`, 2)
}
