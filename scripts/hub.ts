// An adapter that lies in a Hugging Face repository, as the file set that adapters/ reads: ranges are fetched when asked for.
// Knows the hub's two routes and nothing of adapters. Invariant: all files are of one commit, whatever is pushed meanwhile.
import * as z from 'zod'
import { type AdapterFile, type FileSet, fileSet } from '../adapters/file-set.ts'
import { CliError } from './cli-error.ts'

export interface Hub {
  /** Such as https://huggingface.co */
  readonly endpoint: string
  readonly token: string | undefined
}

const Listing = z.object({
  sha: z.string().regex(/^[0-9a-f]{40,64}$/),
  siblings: z.array(z.object({ rfilename: z.string(), size: z.number().int().nonnegative() })),
})

/** Whether an operand names a hub repository: `hf:owner/name` or `hf:owner/name@revision`. */
export function isHubId(operand: string): boolean {
  return operand.startsWith('hf:')
}

/** The hub that the environment names, as Hugging Face's own tools read it. */
export function hubFrom(env: Readonly<Record<string, string | undefined>>): Hub {
  return { endpoint: env.HF_ENDPOINT ?? 'https://huggingface.co', token: env.HF_TOKEN }
}

/** The repository's files at its revision (default main). Throws CliError. */
export async function openHub(operand: string, hub: Hub): Promise<FileSet> {
  const match = /^hf:([\w.-]+\/[\w.-]+)(?:@([\w./-]+))?$/.exec(operand)
  if (match === null) throw new CliError(`${operand} is not of the form hf:owner/name or hf:owner/name@revision.`, 2)
  const [, id, revision = 'main'] = match
  const listing = Listing.safeParse(
    await (await get(hub, `/api/models/${id}/revision/${encodeURIComponent(revision)}?blobs=true`)).json(),
  )
  if (!listing.success)
    throw new CliError(
      `${hub.endpoint} answered for ${id} with something else than a model's files; check HF_ENDPOINT.`,
      3,
    )
  const { sha, siblings } = listing.data
  return fileSet(
    siblings.map(({ rfilename, size }) => hubFile(hub, `/${id}/resolve/${sha}/`, safeName(rfilename), size)),
  )
}

/** Throws CliError for a name that would leave the folder it is put in. */
function safeName(name: string): string {
  const parts = name.split('/')
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is refused
  if (parts.some((part) => part === '' || part === '.' || part === '..') || /[\\\x00-\x1f]/.test(name)) {
    throw new CliError(
      `The repository has a file named ${JSON.stringify(name)}, which is no safe path; take the files by hand.`,
    )
  }
  return name
}

function hubFile(hub: Hub, prefix: string, name: string, size: number): AdapterFile {
  const path = prefix + name.split('/').map(encodeURIComponent).join('/')
  const read = async (start: number, end: number) => {
    if (start === end) return new Uint8Array()
    const response = await get(hub, path, { range: `bytes=${start}-${end - 1}` })
    const bytes = new Uint8Array(await response.arrayBuffer())
    // A server without ranges sends the whole file.
    const wanted = response.status === 206 ? bytes : bytes.subarray(start, end)
    if (wanted.byteLength !== end - start)
      throw new CliError(
        `${hub.endpoint} sent ${wanted.byteLength} bytes of ${name} where ${end - start} were asked for; try again.`,
        3,
      )
    return wanted
  }
  return { name, size, read }
}

async function get(hub: Hub, path: string, headers: Record<string, string> = {}): Promise<Response> {
  const authorization: Record<string, string> = hub.token === undefined ? {} : { authorization: `Bearer ${hub.token}` }
  const response = await fetch(new URL(path, hub.endpoint), { headers: { ...headers, ...authorization } }).catch(
    (error: unknown) => {
      const reason = error instanceof Error && error.cause instanceof Error ? error.cause.message : String(error)
      throw new CliError(`${hub.endpoint} cannot be reached (${reason}); check the network or HF_ENDPOINT.`, 3)
    },
  )
  if (response.ok) return response
  await response.body?.cancel()
  const hint =
    response.status === 401 || response.status === 403 || response.status === 404
      ? 'check the name, and HF_TOKEN where it is private'
      : 'try again later'
  throw new CliError(
    `${hub.endpoint}${path.replace(/\?.*/, '')} answered with HTTP status ${response.status}; ${hint}.`,
    response.status >= 500 ? 3 : 1,
  )
}
