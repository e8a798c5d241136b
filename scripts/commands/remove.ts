// `polylora remove`: takes an adapter and all its versions out of service.
import * as z from 'zod'
import { type Command, onlyOperand, print, splitModel } from '../command.ts'
import { callEdgeJson } from '../edge-client.ts'
import { EDGE_OPTIONS, edgeAddress } from '../edge-options.ts'

export const remove: Command = {
  summary: 'Removes an adapter with all its versions.',
  operands: '<tenant/name>',
  options: EDGE_OPTIONS,
  async run(args, terminal) {
    const { tenant, name } = splitModel(onlyOperand(args, 'tenant/name'))
    const path = `/v1/adapters/${tenant}/${name}`
    const removed = await callEdgeJson(edgeAddress(args, terminal), path, z.looseObject({}), { method: 'DELETE' })
    print(args, terminal, removed, `removed ${tenant}/${name}`)
  },
}
