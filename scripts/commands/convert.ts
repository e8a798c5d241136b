// `polylora convert`: files in, the canonical delta file out; no server needed.
import { rename, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, join, resolve } from 'node:path'
import { MAX_RANK } from '../../adapters/canonical.ts'
import { importAdapter } from '../../adapters/import-adapter.ts'
import { shrinkRank } from '../../adapters/shrink-rank.ts'
import { verifyAdapter } from '../../adapters/verify.ts'
import { identify } from '../../gpu-backend/model/built-model.ts'
import { openModelSource } from '../../gpu-backend/model/open-model.ts'
import { type Command, FACT_OPTIONS, onlyOperand } from '../command.ts'
import { formatReport } from '../format-report.ts'
import { importFacts, parseDtype, parseShrinkRank } from '../import-facts.ts'
import { openAdapter } from '../open-adapter.ts'
import { writeDelta } from '../publish.ts'

/** Hashes of weight files, kept from one run to the next. */
const CACHE = join(tmpdir(), 'polylora-convert')

export const convert: Command = {
  summary: 'Converts an adapter to the canonical delta file, without a server.',
  operands: '<dir|file|hf:owner/name> --base DIR --out FILE',
  options: {
    base: { type: 'string', value: 'DIR', help: 'the base model: a folder in Hugging Face layout or a .gguf file' },
    'base-name': { type: 'string', value: 'NAME', help: "the base model's name (default its folder's)" },
    out: { type: 'string', value: 'FILE', help: 'where to write the delta (.safetensors)' },
    ...FACT_OPTIONS,
  },
  async run(args, terminal) {
    const out = args.required('out')
    const dtype = parseDtype(args)
    const model = args.required('base')
    const base = await identify(await openModelSource(model), args.text('base-name') ?? basename(resolve(model)), CACHE)
    const imported = await importAdapter(await openAdapter(onlyOperand(args, 'folder or file'), terminal), {
      ...importFacts(args),
      base,
    })
    const rank = parseShrinkRank(args)
    const source = rank === undefined ? imported : (await shrinkRank(imported, rank)).source
    const report = await verifyAdapter(source, base, dtype, { maxRank: MAX_RANK, maxBytes: Number.POSITIVE_INFINITY })
    // Written beside its place and renamed: an interrupted run leaves no half file under the wanted name.
    const partial = `${out}.partial`
    try {
      const digest = await writeDelta(partial, source, base, dtype)
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
