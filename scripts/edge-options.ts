// Which edge a command talks to, and with whose key, as its options or the environment say.
import { CliError } from './cli-error.ts'
import type { Arguments, Option, Terminal } from './command.ts'
import type { EdgeAddress } from './edge-client.ts'

/** Where npm start serves. */
const DEFAULT_EDGE = 'http://127.0.0.1:8787'

/** The options of every command that talks to an edge. */
export const EDGE_OPTIONS = {
  edge: { type: 'string', value: 'URL', help: `the edge (default $POLYLORA_EDGE or ${DEFAULT_EDGE})` },
  'api-key': { type: 'string', value: 'KEY', help: 'your API key (default $POLYLORA_API_KEY)' },
} satisfies Readonly<Record<string, Option>>

/** The options of the operator's commands. */
export const ADMIN_OPTIONS = {
  'admin-key': { type: 'string', value: 'KEY', help: "the operator's key (default $POLYLORA_ADMIN_KEY)" },
  edge: EDGE_OPTIONS.edge,
} satisfies Readonly<Record<string, Option>>

/** The edge that the options or the environment name. Throws CliError when there is no key. */
export function edgeAddress(args: Arguments, terminal: Terminal): EdgeAddress {
  const apiKey = args.text('api-key') ?? terminal.env.POLYLORA_API_KEY
  if (!apiKey)
    throw new CliError('No API key: give --api-key or set POLYLORA_API_KEY (npm start uses dev-<tenant>).', 2)
  return edgeWith(apiKey, args, terminal)
}

/** The edge and the operator's key that the options or the environment name. Throws CliError when there is no key. */
export function adminAddress(args: Arguments, terminal: Terminal): EdgeAddress {
  const apiKey = args.text('admin-key') ?? terminal.env.POLYLORA_ADMIN_KEY
  if (!apiKey) throw new CliError('No admin key: give --admin-key or set POLYLORA_ADMIN_KEY.', 2)
  return edgeWith(apiKey, args, terminal)
}

function edgeWith(apiKey: string, args: Arguments, terminal: Terminal): EdgeAddress {
  if (!/^[\x21-\x7e]+$/.test(apiKey))
    throw new CliError('The key has a character that no key has; copy the whole key, which is shown once.', 2)
  return { url: args.text('edge') ?? terminal.env.POLYLORA_EDGE ?? DEFAULT_EDGE, apiKey }
}
