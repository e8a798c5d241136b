// `polylora show`: one adapter, its versions and the report of the current one.
import * as z from 'zod'
import type { AdapterReport } from '../../adapters/verify.ts'
import { type Command, EDGE_OPTIONS, edgeAddress, onlyOperand, print, splitModel } from '../command.ts'
import { callEdgeJson } from '../edge-client.ts'
import { formatReport } from '../format-report.ts'
import { Canary } from './canary.ts'

const Report = z.looseObject({
  sourceFormat: z.string(),
  base: z.string(),
  baseName: z.string(),
  dtype: z.enum(['f16', 'f32']),
  bytes: z.number(),
  rank: z.number(),
  modules: z.array(z.string()),
  moduleCount: z.number(),
  scales: z.array(z.number()),
  layers: z.array(z.object({ layer: z.string(), modules: z.array(z.string()), norm: z.number() })),
  hasChatTemplate: z.boolean(),
  notices: z.array(z.string()),
  probe: z.object({ prompt: z.string(), difference: z.number() }).optional(),
})
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
    const report = Report.safeParse(adapter.report)
    const lines = report.success
      ? formatReport(report.data satisfies AdapterReport)
      : ['(this version was stored without a report)']
    const versions = adapter.versions.map(({ digest, created_ms: createdMs }) => {
      const share = digest === adapter.canary?.digest ? `  ${adapter.canary.weight} of the requests` : ''
      return `${digest === adapter.digest ? '*' : ' '} ${digest}  ${new Date(createdMs).toISOString()}${share}`
    })
    print(args, terminal, adapter, [adapter.id, ...lines, 'versions (* is served)', ...versions].join('\n'))
  },
}
