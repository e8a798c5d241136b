// `polylora pull`: an adapter's files from the Hugging Face Hub into a folder, verified; an interrupted pull goes on.
import { join } from 'node:path'
import { backoffMs } from '../backoff.ts'
import { CliError } from '../cli-error.ts'
import { type Command, onlyOperand, print } from '../command.ts'
import { downloadFile, isForeign } from '../hub/download-file.ts'
import { type HubFile, hubFromEnvironment } from '../hub/hub.ts'
import { isHubId, listHubAdapter } from '../hub/hub-adapter.ts'
import { withProgress } from '../progress.ts'

export const pull: Command = {
  summary: 'Downloads an adapter from the Hugging Face Hub; publish also takes hf:owner/name directly.',
  operands: '<hf:owner/name[@revision]> --out DIR',
  options: { out: { type: 'string', value: 'DIR', help: 'where to put the files' } },
  notes: ["HF_ENDPOINT and HF_TOKEN are read as Hugging Face's own tools read them."],
  async run(args, terminal) {
    const operand = onlyOperand(args, 'hf:owner/name')
    if (!isHubId(operand)) throw new CliError(`${operand} is not of the form hf:owner/name.`, 2)
    const out = args.required('out')
    const hub = hubFromEnvironment(terminal.env, operand)
    const revision = await listHubAdapter(operand, hub)
    // Asked of all before the first is downloaded.
    for (const file of revision.files) await refuseForeign(file, join(out, file.path))
    await withProgress(terminal.stderr, async (onProgress) => {
      for (const file of revision.files) {
        const onBytes = (bytes: number) => onProgress(file.path.slice(-40), bytes, file.bytes)
        await downloadFile(hub, revision, file, join(out, file.path), {
          onProgress: onBytes,
          retryDelayMs: backoffMs,
        })
      }
    })
    const paths = revision.files.map((file) => join(out, file.path))
    const answer = { out, commit: revision.commit, files: revision.files.map((file) => file.path) }
    print(args, terminal, answer, paths.join('\n'))
  },
}

/** Whatever lies in the folder is somebody's, a README above all: nobody asked to have it replaced. Throws CliError. */
async function refuseForeign(file: HubFile, target: string): Promise<void> {
  if (!(await isForeign(file, target))) return
  throw new CliError(`${target} is there with other bytes: move it away, or give --out another folder.`)
}
