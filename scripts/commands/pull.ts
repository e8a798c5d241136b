// `polylora pull`: an adapter's files from the Hugging Face hub into a folder; an interrupted pull goes on where it stopped.
import { mkdir, open, rename, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { AdapterFile } from '../../adapters/file-set.ts'
import { CliError } from '../cli-error.ts'
import { type Command, onlyOperand } from '../command.ts'
import { hubFrom, isHubId, openHub } from '../hub.ts'
import { type Progress, terminalProgress } from '../progress.ts'

const PIECE_BYTES = 8 * 1024 * 1024

export const pull: Command = {
  summary: 'Downloads an adapter from the Hugging Face hub; publish also takes hf:owner/name directly.',
  operands: '<hf:owner/name[@revision]> --out DIR',
  options: { out: { type: 'string', value: 'DIR', help: 'where to put the files' } },
  notes: ["HF_ENDPOINT and HF_TOKEN are read as Hugging Face's own tools read them."],
  async run(args, terminal) {
    const operand = onlyOperand(args, 'hf:owner/name')
    if (!isHubId(operand)) throw new CliError(`${operand} is not of the form hf:owner/name.`, 2)
    const out = args.required('out')
    const files = await openHub(operand, hubFrom(terminal.env))
    const progress = terminalProgress(terminal.stderr)
    try {
      for (const file of files.values()) await download(file, join(out, file.name), progress)
    } finally {
      progress.finish()
    }
    const names = [...files.keys()]
    terminal.stdout.write(
      args.flag('json')
        ? `${JSON.stringify({ out, files: names })}\n`
        : `${names.map((name) => join(out, name)).join('\n')}\n`,
    )
  },
}

async function download(file: AdapterFile, path: string, progress: Progress): Promise<void> {
  const done = await stat(path).catch(() => undefined)
  if (done?.size === file.size) return
  await mkdir(dirname(path), { recursive: true })
  const partial = `${path}.partial`
  const handle = await open(partial, 'a')
  try {
    const { size } = await handle.stat()
    if (size > file.size) await handle.truncate(0)
    for (let at = size > file.size ? 0 : size; at < file.size; at += PIECE_BYTES) {
      await handle.writeFile(await file.read(at, Math.min(at + PIECE_BYTES, file.size)))
      progress.update('pulling', Math.min(at + PIECE_BYTES, file.size), file.size)
    }
  } finally {
    await handle.close()
  }
  await rename(partial, path)
}
