// `polylora show`: one adapter, its versions and the report of the current one.
import * as z from 'zod'
import { StoredReport } from '../../functions/client/stored-report.ts'
import { type Command, onlyOperand, print, splitModel } from '../command.ts'
import { callEdgeJson } from '../edge-client.ts'
import { EDGE_OPTIONS, edgeAddress } from '../edge-options.ts'
import { formatReport } from '../format-report.ts'
import { Canary } from './canary.ts'

const Adapter = z.looseObject({
  id: z.string(),
  digest: z.string(),
  canary: Canary.nullish(),
  report: z.nullable(z.unknown()),
  versions: z.array(z.looseObject({ digest: z.string(), created_ms: z.number() })),
})

export const show: Command = {
  summary: 'Shows one adapter: its report and its versions.',
  operands: '<tenant/name>',
  options: EDGE_OPTIONS,
  async run(args, terminal) {
    const { tenant, name } = splitModel(onlyOperand(args, 'tenant/name'))
    const adapter = await callEdgeJson(edgeAddress(args, terminal), `/v1/adapters/${tenant}/${name}`, Adapter)
    const report = StoredReport.safeParse(adapter.report)
    const lines = report.success ? formatReport(report.data) : ['(this version was stored without a report)']
    const versions = adapter.versions.map(({ digest, created_ms: createdMs }) => {
      const share = digest === adapter.canary?.digest ? `  ${adapter.canary.weight} of the requests` : ''
      return `${digest === adapter.digest ? '*' : ' '} ${digest}  ${new Date(createdMs).toISOString()}${share}`
    })
    print(args, terminal, adapter, [adapter.id, ...lines, 'versions (* is served)', ...versions].join('\n'))
  },
}
