// `polylora inspect`: what an adapter's files hold and whether they could be published; no server needed.
import { MAX_RANK } from '../../adapters/canonical.ts'
import { identifyAdapter } from '../../adapters/import-adapter.ts'
import { inferBase } from '../../adapters/infer-base.ts'
import { shrinkRank } from '../../adapters/shrink-rank.ts'
import { verifyAdapter } from '../../adapters/verify.ts'
import { type Command, FACT_OPTIONS, onlyOperand } from '../command.ts'
import { formatReport } from '../format-report.ts'
import { importFacts, parseDtype, parseShrinkRank } from '../import-facts.ts'
import { openAdapter } from '../open-adapter.ts'

export const inspect: Command = {
  summary: 'Reports what an adapter is, without a server: format, ranks, scale, norms, and what would be refused.',
  operands: '<dir|file|hf:owner/name>',
  options: FACT_OPTIONS,
  notes: ["Sizes are compared among the adapter's own tensors; publish and convert compare them with the base model."],
  async run(args, terminal) {
    const dtype = parseDtype(args)
    const adapter = await identifyAdapter(await openAdapter(onlyOperand(args, 'folder or file'), terminal))
    const base = inferBase(adapter.weights.tensors.values())
    const named = adapter.weights.metadata.get('base')
    const fingerprint = named !== undefined && /^sha256:[0-9a-f]{64}$/.test(named) ? named : base.fingerprint
    const name = adapter.weights.metadata.get('base_name') ?? base.name
    const known = { ...base, fingerprint, name }
    const imported = await adapter.read({ ...importFacts(args), base: known })
    const rank = parseShrinkRank(args)
    const source = rank === undefined ? imported : (await shrinkRank(imported, rank)).source
    const report = await verifyAdapter(source, known, dtype, { maxRank: MAX_RANK, maxBytes: Number.POSITIVE_INFINITY })
    terminal.stdout.write(args.flag('json') ? `${JSON.stringify(report)}\n` : `${formatReport(report).join('\n')}\n`)
  },
}
