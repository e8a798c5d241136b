// `polylora convert`: files in, the canonical delta file out; no server needed.
import { rename, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { encodeDeltaStream } from '../../adapters/canonical.ts'
import { importAdapter } from '../../adapters/import-adapter.ts'
import { ADAPTER_OPTIONS, readAdapterOptions } from '../adapter-options.ts'
import { checkAdapter } from '../check-adapter.ts'
import { CliError } from '../cli-error.ts'
import { type Command, onlyOperand, print } from '../command.ts'
import { formatReport } from '../format-report.ts'
import { openAdapter } from '../open-adapter.ts'
import { BASE_OPTIONS, openBase } from '../open-base.ts'
import { requireFolderOf } from '../parse-flags.ts'
import { passingFolder } from '../passing-folder.ts'
import { withProgress } from '../progress.ts'
import { writeDelta } from '../write-delta.ts'

export const convert: Command = {
  summary: 'Converts an adapter to the canonical delta file, without a server.',
  operands: '<dir|file|hf:owner/name> --base DIR --out FILE',
  options: {
    ...BASE_OPTIONS,
    out: { type: 'string', value: 'FILE', help: 'where to write the delta (.safetensors)' },
    ...ADAPTER_OPTIONS,
  },
  async run(args, terminal) {
    const operand = onlyOperand(args, 'folder or file')
    const options = readAdapterOptions(args)
    const model = args.required('base')
    const out = args.required('out')
    const there = await stat(out).catch(() => undefined)
    // A device would be replaced by the file, whoever may do so.
    if (there && !there.isFile()) throw new CliError(`--out ${out} is no file: give the path of one, or of none.`, 2)
    requireFolderOf(out, 'out')
    // Written beside its place and renamed: an interrupted run leaves no half file under the wanted name.
    const { path, release } = passingFolder(dirname(out))
    try {
      const partial = join(path, 'delta.safetensors')
      const { report, digest } = await withProgress(terminal.stderr, async (onProgress) => {
        onProgress('reading', 0, 1)
        const base = await openBase(model, args)
        const files = await openAdapter(operand, terminal)
        const imported = await importAdapter(files, { ...options.facts, base })
        const { source, dtype, report } = await checkAdapter(imported, base, options, onProgress)
        const onWritten = (bytes: number) => onProgress('writing', bytes, report.bytes)
        return { report, digest: await writeDelta(partial, encodeDeltaStream(source, base, dtype), onWritten) }
      })
      await rename(partial, out)
      const lines = [...formatReport(report), `written   ${out}`, `digest    ${digest}`]
      print(args, terminal, { ...report, digest, out }, lines.join('\n'))
    } finally {
      await release()
    }
  },
}
