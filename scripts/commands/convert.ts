// `polylora convert`: files in, the canonical delta file out; no server needed.
import { rename, rm } from 'node:fs/promises'
import { encodeDeltaStream, MAX_RANK } from '../../adapters/canonical.ts'
import { storedAs } from '../../adapters/delta-source.ts'
import { importAdapter } from '../../adapters/import-adapter.ts'
import { shrinkRank } from '../../adapters/shrink-rank.ts'
import { verifyAdapter } from '../../adapters/verify.ts'
import { type Command, FACT_OPTIONS, onlyOperand } from '../command.ts'
import { formatReport } from '../format-report.ts'
import { importFacts, parseDtype, parseShrinkRank } from '../import-facts.ts'
import { openAdapter } from '../open-adapter.ts'
import { BASE_OPTIONS, openBase } from '../open-base.ts'
import { writeDelta } from '../write-delta.ts'

export const convert: Command = {
  summary: 'Converts an adapter to the canonical delta file, without a server.',
  operands: '<dir|file|hf:owner/name> --base DIR --out FILE',
  options: {
    ...BASE_OPTIONS,
    out: { type: 'string', value: 'FILE', help: 'where to write the delta (.safetensors)' },
    ...FACT_OPTIONS,
  },
  async run(args, terminal) {
    const out = args.required('out')
    const base = await openBase(args.required('base'), args)
    const imported = await importAdapter(await openAdapter(onlyOperand(args, 'folder or file'), terminal), {
      ...importFacts(args),
      base,
    })
    const dtype = storedAs(imported, parseDtype(args))
    const rank = parseShrinkRank(args)
    const source = rank === undefined ? imported : (await shrinkRank(imported, rank)).source
    const report = await verifyAdapter(source, base, dtype, { maxRank: MAX_RANK, maxBytes: Number.POSITIVE_INFINITY })
    // Written beside its place and renamed: an interrupted run leaves no half file under the wanted name.
    const partial = `${out}.partial`
    try {
      const digest = await writeDelta(partial, encodeDeltaStream(source, base, dtype))
      await rename(partial, out)
      const lines = [...formatReport(report), `written   ${out}`, `digest    ${digest}`]
      terminal.stdout.write(
        args.flag('json') ? `${JSON.stringify({ ...report, digest, out })}\n` : `${lines.join('\n')}\n`,
      )
    } finally {
      await rm(partial, { force: true })
    }
  },
}
