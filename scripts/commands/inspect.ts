// `polylora inspect`: what an adapter's files hold and whether they could be published; no server needed.
import type { BaseModel } from '../../adapters/base-model.ts'
import { identifyAdapter } from '../../adapters/import-adapter.ts'
import { inferBase } from '../../adapters/infer-base.ts'
import type { TensorFile } from '../../adapters/source-tensor.ts'
import { ADAPTER_OPTIONS, readAdapterOptions } from '../adapter-options.ts'
import { checkAdapter } from '../check-adapter.ts'
import { type Command, onlyOperand, print } from '../command.ts'
import { formatReport } from '../format-report.ts'
import { openAdapter } from '../open-adapter.ts'
import { BASE_OPTIONS, openBase } from '../open-base.ts'
import { withProgress } from '../progress.ts'

export const inspect: Command = {
  summary: 'Reports what an adapter is, without a server: format, ranks, scale, norms, and what would be refused.',
  operands: '<dir|file|hf:owner/name>',
  options: { ...BASE_OPTIONS, ...ADAPTER_OPTIONS },
  notes: ["Without --base, sizes are compared among the adapter's own tensors only; a fused layer needs --base."],
  async run(args, terminal) {
    const operand = onlyOperand(args, 'folder or file')
    const options = readAdapterOptions(args)
    const { report } = await withProgress(terminal.stderr, async (onProgress) => {
      onProgress('reading', 0, 1)
      const adapter = await identifyAdapter(await openAdapter(operand, terminal))
      const model = args.text('base')
      const base = model === undefined ? shownBase(adapter.weights) : await openBase(model, args)
      const imported = await adapter.read({ ...options.facts, base })
      return checkAdapter(imported, base, options, onProgress)
    })
    print(args, terminal, report, formatReport(report).join('\n'))
  },
}

/** What the tensors show of their base; a canonical file also names it. */
function shownBase({ tensors, metadata }: TensorFile): BaseModel {
  const base = inferBase(tensors.values())
  const fingerprint = metadata.get('base')
  const named = fingerprint !== undefined && /^sha256:[0-9a-f]{64}$/.test(fingerprint)
  return named ? { ...base, fingerprint, name: metadata.get('base_name') ?? base.name } : base
}
