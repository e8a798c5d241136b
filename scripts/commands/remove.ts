// `polylora remove`: takes an adapter and all its versions out of service.
import { type Command, EDGE_OPTIONS, edgeAddress, onlyOperand, splitModel } from '../command.ts'
import { callEdge } from '../edge-client.ts'

export const remove: Command = {
  summary: 'Removes an adapter with all its versions.',
  operands: '<tenant/name>',
  options: EDGE_OPTIONS,
  async run(args, terminal) {
    const { tenant, name } = splitModel(onlyOperand(args, 'tenant/name'))
    const response = await callEdge(edgeAddress(args, terminal), `/v1/adapters/${tenant}/${name}`, { method: 'DELETE' })
    const answer = await response.text()
    terminal.stdout.write(args.flag('json') ? `${answer}\n` : `removed ${tenant}/${name}\n`)
  },
}
