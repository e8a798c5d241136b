// `polylora rollback`: points a name back at the version that it pointed at before.
import * as z from 'zod'
import { type Command, onlyOperand, print, splitModel } from '../command.ts'
import { callEdgeJson } from '../edge-client.ts'
import { EDGE_OPTIONS, edgeAddress } from '../edge-options.ts'

const Adapter = z.looseObject({ id: z.string(), digest: z.string() })

export const rollback: Command = {
  summary: 'Points a name back at the version before.',
  operands: '<tenant/name>',
  options: EDGE_OPTIONS,
  async run(args, terminal) {
    const { tenant, name } = splitModel(onlyOperand(args, 'tenant/name'))
    const path = `/v1/adapters/${tenant}/${name}/rollback`
    const adapter = await callEdgeJson(edgeAddress(args, terminal), path, Adapter, { method: 'POST' })
    print(args, terminal, adapter, `${adapter.id} points at ${adapter.digest}`)
  },
}
