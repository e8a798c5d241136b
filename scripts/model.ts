// `npm run model -- pull`: brings a base model from the Hugging Face Hub, or looks at one that is here, and says how to
// serve it. Invariant: what it leaves under the model's folder is verified, or has a name that ends in .part.
import { existsSync, readFileSync } from 'node:fs'
import { statfs } from 'node:fs/promises'
import { basename, dirname, join, relative, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { backoffMs } from './backoff.ts'
import { callersFolder } from './callers-folder.ts'
import { CliError } from './cli-error.ts'
import type { Terminal } from './command.ts'
import { followProxy } from './follow-proxy.ts'
import { formatBytes } from './format-bytes.ts'
import { bytesPresent, downloadFile } from './hub/download-file.ts'
import { type Hub, type HubFile, type HubRevision, hubFromEnvironment, listRevision } from './hub/hub.ts'
import { describeModel } from './model/describe-model.ts'
import { ggufFile, huggingFaceFiles, INDEX, shardFiles } from './model/model-files.ts'
import { parseOptions } from './parse-flags.ts'
import { withProgress } from './progress.ts'
import { knownFailure, runScript } from './run-script.ts'

const HELP = `npm run model -- pull <hub id | path> [options]

Downloads a base model from the Hugging Face Hub, going on where an earlier pull stopped, and verifies every file; then
opens it and says what it is. A path of a model that is here already is only opened.

  --revision R   branch, tag or commit (default main)
  --file F       pull one .gguf file of the repository
  --to DIR       where to put it (default .polylora/models/<org>--<name>)
  --help         show this help

HF_ENDPOINT names another Hub; HF_TOKEN opens gated and private models, as does the token that hf auth login keeps.
HTTPS_PROXY, HTTP_PROXY and NO_PROXY are followed.
`

const REPOSITORY = fileURLToPath(new URL('..', import.meta.url))
const HUB_ID = /^[\w.-]+(?:\/[\w.-]+)?$/

/** What the tests replace. */
export interface Surroundings {
  /** Where default folders lie. */
  readonly root: string
  readonly freeBytes: (dir: string) => Promise<number>
  readonly retryDelayMs: (attempt: number) => number
}

const MACHINE: Surroundings = {
  root: REPOSITORY,
  freeBytes: async (dir) => {
    const { bavail, bsize } = await statfs(dir)
    return bavail * bsize
  },
  retryDelayMs: backoffMs,
}

/** Runs one command line and returns its exit code. */
export async function model(
  argv: readonly string[],
  terminal: Terminal,
  surroundings: Surroundings = MACHINE,
): Promise<number> {
  try {
    const { positionals, values } = parse(argv)
    const [verb, what, ...rest] = positionals
    if (values.help) {
      terminal.stdout.write(HELP)
      return 0
    }
    if (verb !== 'pull' || what === undefined || rest.length > 0)
      throw new CliError('Say what to pull: npm run model -- pull <hub id | path>; see --help.', 2)
    const path = existsSync(what) ? what : await pull(what, values, terminal, surroundings)
    await describe(path, terminal, surroundings)
    return 0
  } catch (error) {
    const failure = knownFailure(error)
    if (failure === undefined) throw error
    terminal.stderr.write(`${failure.message}\n`)
    return failure.exitCode
  }
}

interface Flags {
  readonly revision?: string | undefined
  readonly file?: string | undefined
  readonly to?: string | undefined
  readonly help?: boolean | undefined
}

function parse(argv: readonly string[]): { positionals: string[]; values: Flags } {
  const text = { type: 'string' } as const
  const options = { revision: text, file: text, to: text, help: { type: 'boolean', short: 'h' } } as const
  return parseOptions({ args: [...argv], options, allowPositionals: true }, '--help')
}

/** Downloads what is missing of `id` and returns the path of the model. */
async function pull(id: string, flags: Flags, terminal: Terminal, surroundings: Surroundings): Promise<string> {
  if (!HUB_ID.test(id) || /^\.+(?:\/|$)|\.gguf$/.test(id)) {
    throw new CliError(`There is no model at ${id}: give a path that exists or a Hub id like org/name.`)
  }
  const hub = hubFromEnvironment(terminal.env, id)
  const revision = await listRevision(hub, id, flags.revision ?? 'main')
  const dir = resolve(flags.to ?? join(surroundings.root, '.polylora', 'models', id.replace('/', '--')))
  terminal.stdout.write(`${id} at ${revision.commit.slice(0, 12)} -> ${shown(dir)}\n`)
  if (flags.file !== undefined) {
    const file = ggufFile(id, revision.files, flags.file)
    await download(hub, revision, [file], dir, terminal, surroundings)
    return join(dir, nameOf(file))
  }
  const files = huggingFaceFiles(id, revision.files)
  await download(hub, revision, files, dir, terminal, surroundings)
  if (files.some(({ path }) => path === INDEX)) {
    const shards = shardFiles(id, revision.files, readFileSync(join(dir, INDEX), 'utf8'))
    await download(hub, revision, shards, dir, terminal, surroundings)
  }
  return dir
}

async function download(
  hub: Hub,
  revision: HubRevision,
  files: readonly HubFile[],
  dir: string,
  terminal: Terminal,
  surroundings: Surroundings,
): Promise<void> {
  const targets = files.map((file) => ({ file, name: nameOf(file), target: join(dir, nameOf(file)) }))
  await requireRoom(targets, dir, surroundings)
  const total = files.reduce((sum, { bytes }) => sum + bytes, 0)
  let done = 0
  for (const { file, name, target } of targets) {
    const fetched = await withProgress(terminal.stderr, (onProgress) =>
      downloadFile(hub, revision, file, target, {
        onProgress: (bytes) => onProgress(name, done + bytes, total),
        retryDelayMs: surroundings.retryDelayMs,
      }),
    )
    done += file.bytes
    terminal.stdout.write(`  ${name}  ${formatBytes(file.bytes)}${fetched ? '' : '  (is here)'}\n`)
  }
}

/** Below the model's folder; a GGUF file is a model by itself, wherever it lies in its repository. */
function nameOf({ path }: HubFile): string {
  return path.endsWith('.gguf') ? basename(path) : path
}

/** Refuses before the first byte what cannot fit. */
async function requireRoom(
  targets: readonly { readonly file: HubFile; readonly target: string }[],
  dir: string,
  { freeBytes }: Surroundings,
): Promise<void> {
  const missing = targets.reduce((sum, { file, target }) => sum + file.bytes - bytesPresent(file, target), 0)
  let existing = dir
  while (!existsSync(existing)) existing = dirname(existing)
  const free = await freeBytes(existing)
  if (missing <= free) return
  throw new CliError(
    `${formatBytes(missing)} are needed but ${formatBytes(free)} are free at ${existing}: make room, or choose another place with --to.`,
  )
}

async function describe(path: string, terminal: Terminal, { root }: Surroundings): Promise<void> {
  const name = basename(resolve(path))
  const found = await describeModel(path, name, join(root, '.polylora', 'backend', 'models'))
  const parameters = `${(found.parameters / 1e6).toFixed(found.parameters < 1e7 ? 2 : 0)} M parameters`
  terminal.stdout.write(`${found.architecture}, ${parameters}, ${found.contextTokens} tokens of context\n`)
  terminal.stdout.write(`fingerprint ${found.fingerprint}\n`)
  if (!found.hasChatTemplate) terminal.stdout.write('no chat template: it serves /v1/completions only\n')
  // The question is one of a conversation.
  terminal.stdout.write(`Serve it: npm start -- --model ${shown(path)}${found.hasChatTemplate ? '' : ' --no-demo'}\n`)
}

/** As the user would type it. */
function shown(path: string): string {
  const short = relative(process.cwd(), path)
  return short.startsWith('..') || short === '' ? path : short
}

if (import.meta.main) {
  await runScript(async () => {
    process.chdir(callersFolder('model', process.env))
    followProxy(process.env)
    process.exitCode = await model(process.argv.slice(2), process)
  })
}
