// `polylora alias`: points a name at one of its stored versions.
import { CliError } from '../cli-error.ts'
import { type Command, EDGE_OPTIONS, edgeAddress, splitModel } from '../command.ts'
import { callEdge } from '../edge-client.ts'

export const alias: Command = {
  summary: 'Points a name at one of its versions (polylora show lists them).',
  operands: '<tenant/name> <sha256:digest>',
  options: EDGE_OPTIONS,
  async run(args, terminal) {
    const [model, digest, ...rest] = args.positionals
    if (model === undefined || digest === undefined || rest.length > 0)
      throw new CliError('Give a tenant/name and a digest; see --help.', 2)
    const { tenant, name } = splitModel(model)
    const init = { method: 'PUT', body: JSON.stringify({ digest }) }
    const answer = await (
      await callEdge(edgeAddress(args, terminal), `/v1/adapters/${tenant}/${name}/alias`, init)
    ).text()
    terminal.stdout.write(args.flag('json') ? `${answer}\n` : `${model} points at ${digest}\n`)
  },
}
