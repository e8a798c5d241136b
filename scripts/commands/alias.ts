// `polylora alias`: points a name at one of its stored versions.
import * as z from 'zod'
import { CliError } from '../cli-error.ts'
import { type Command, print, splitModel } from '../command.ts'
import { callEdgeJson } from '../edge-client.ts'
import { EDGE_OPTIONS, edgeAddress } from '../edge-options.ts'

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
    const path = `/v1/adapters/${tenant}/${name}/alias`
    const adapter = await callEdgeJson(edgeAddress(args, terminal), path, z.looseObject({}), init)
    print(args, terminal, adapter, `${model} points at ${digest}`)
  },
}
