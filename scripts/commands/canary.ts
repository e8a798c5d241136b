// `polylora canary`: sends a share of a name's requests to another of its versions, or none again.
import * as z from 'zod'
import { CliError } from '../cli-error.ts'
import { type Command, print, splitModel } from '../command.ts'
import { callEdgeJson } from '../edge-client.ts'
import { EDGE_OPTIONS, edgeAddress } from '../edge-options.ts'

export const Canary = z.object({ digest: z.string(), weight: z.number() })
const Adapter = z.looseObject({ id: z.string(), digest: z.string(), canary: Canary.nullish() })

export const canary: Command = {
  summary: "Sends a share of a name's requests to another version (polylora publish --stage stores one).",
  operands: '<tenant/name> [sha256:digest]',
  options: {
    weight: { type: 'string', value: 'W', help: 'the share, such as 0.05; without a digest the canary ends' },
    ...EDGE_OPTIONS,
  },
  async run(args, terminal) {
    const [model, digest, ...rest] = args.positionals
    const weight = args.number('weight')
    if (model === undefined || rest.length > 0 || (digest === undefined) !== (weight === undefined)) {
      throw new CliError('Give a tenant/name, and a digest with --weight or neither; see polylora canary --help.', 2)
    }
    const { tenant, name } = splitModel(model)
    const init =
      digest === undefined ? { method: 'DELETE' } : { method: 'PUT', body: JSON.stringify({ digest, weight }) }
    const path = `/v1/adapters/${tenant}/${name}/canary`
    const adapter = await callEdgeJson(edgeAddress(args, terminal), path, Adapter, init)
    const share = adapter.canary
      ? `${adapter.canary.weight} of its requests go to ${adapter.canary.digest}`
      : 'all its requests go there'
    print(args, terminal, adapter, `${adapter.id} points at ${adapter.digest}; ${share}`)
  },
}
