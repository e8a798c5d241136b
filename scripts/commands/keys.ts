// `polylora keys`: the operator lists, makes, replaces and revokes a tenant's API keys.
import * as z from 'zod'
import { CliError } from '../cli-error.ts'
import { type Arguments, type Command, print, type Terminal } from '../command.ts'
import { callEdge, callEdgeJson } from '../edge-client.ts'
import { ADMIN_OPTIONS, adminAddress } from '../edge-options.ts'

const Key = z.looseObject({
  id: z.string(),
  prefix: z.string(),
  scopes: z.array(z.string()),
  created_ms: z.number(),
  expires_ms: z.number().nullable(),
  revoked_ms: z.number().nullable(),
})
const Keys = z.looseObject({ data: z.array(Key) })
const NewKey = z.looseObject({ ...Key.shape, key: z.string() })

export const keys: Command = {
  summary: "Lists, makes, replaces and revokes a tenant's API keys (operators only).",
  operands: 'list|create|rotate|revoke <tenant> [key id]',
  options: {
    ...ADMIN_OPTIONS,
    scopes: { type: 'string', value: 'LIST', help: 'create: some of inference,adapters,usage (default inference)' },
    'overlap-seconds': { type: 'string', value: 'N', help: 'rotate: how long the old key still works (default 0)' },
  },
  notes: ['A new key is shown once and stored nowhere: keep it.'],
  async run(args, terminal) {
    const [action, tenant, id, ...rest] = args.positionals
    if (tenant === undefined || rest.length > 0) throw wrongOperands()
    const path = `/admin/v1/tenants/${encodeURIComponent(tenant)}/keys`
    if (id === undefined) {
      if (action === 'list') return list(path, args, terminal)
      if (action === 'create')
        return make(path, { scopes: (args.text('scopes') ?? 'inference').split(',') }, args, terminal)
    } else {
      const ofKey = `${path}/${encodeURIComponent(id)}`
      if (action === 'rotate') {
        const overlap = args.wholeNumber('overlap-seconds', 0) ?? 0
        return make(`${ofKey}/rotate`, { overlap_seconds: overlap }, args, terminal)
      }
      if (action === 'revoke') {
        await callEdge(adminAddress(args, terminal), ofKey, { method: 'DELETE' })
        return print(args, terminal, { id, revoked: true }, `revoked ${id}`)
      }
    }
    throw wrongOperands()
  },
}

async function list(path: string, args: Arguments, terminal: Terminal): Promise<void> {
  const { data } = await callEdgeJson(adminAddress(args, terminal), path, Keys)
  print(args, terminal, data, data.map(keyLine).join('\n') || 'No keys yet.')
}

/** Creates or rotates; the new key is shown now and never again. */
async function make(path: string, wanted: object, args: Arguments, terminal: Terminal): Promise<void> {
  const init = { method: 'POST', body: JSON.stringify(wanted) }
  const made = await callEdgeJson(adminAddress(args, terminal), path, NewKey, init)
  print(args, terminal, made, made.key)
}

function wrongOperands(): CliError {
  return new CliError(
    'Give list or create and a tenant, or rotate or revoke, a tenant and a key id; see polylora keys --help.',
    2,
  )
}

function keyLine({ id, prefix, scopes, created_ms, expires_ms, revoked_ms }: z.infer<typeof Key>): string {
  const day = (ms: number) => new Date(ms).toISOString().slice(0, 10)
  const end = expires_ms === null ? 'valid' : `until ${day(expires_ms)}`
  const state = revoked_ms === null ? end : `revoked ${day(revoked_ms)}`
  return `${id}  ${prefix}…  ${scopes.join(',').padEnd(24)}  ${day(created_ms)}  ${state}`
}
