// The Hugging Face Hub's HTTP API: what a revision of a repository holds, and the bytes of one file from an offset on.
// Its npm client (@huggingface/hub 2.17) neither resumes nor verifies what it downloads, hence these two calls of our own.
// Knows nothing of models, adapters or the disk. Invariant: the token goes to the Hub alone; fetch drops it on other hosts.
import { readFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import * as z from 'zod/mini'
import { CliError } from '../cli-error.ts'

const DEFAULT_ENDPOINT = 'https://huggingface.co'

export interface Hub {
  readonly endpoint: string
  readonly token: string | undefined
}

/** One file of a revision: sha256 for a file in Git LFS, else the hash that Git itself knows it by. */
export interface HubFile {
  readonly path: string
  readonly bytes: number
  readonly hash: { readonly kind: 'sha256' | 'git'; readonly hex: string }
}

export interface HubRevision {
  readonly id: string
  /** The commit, so that all files are of one version even where a branch moves meanwhile. */
  readonly commit: string
  readonly files: readonly HubFile[]
}

const hex = (digits: number) => z.string().check(z.regex(new RegExp(`^[0-9a-f]{${digits}}$`)))

const ModelInfo = z.looseObject({
  sha: hex(40),
  siblings: z.array(
    z.looseObject({
      rfilename: z.string(),
      size: z.nullish(z.int().check(z.nonnegative())),
      blobId: z.nullish(hex(40)),
      lfs: z.nullish(z.looseObject({ sha256: hex(64), size: z.int().check(z.nonnegative()) })),
    }),
  ),
})

/**
 * The Hub that HF_ENDPOINT, HF_TOKEN and the token file name, as the Python package huggingface_hub reads them, for what `wanted`
 * names there. Throws CliError where HF_HUB_OFFLINE forbids it.
 */
export function hubFromEnvironment(env: Readonly<Record<string, string | undefined>>, wanted: string): Hub {
  if (['1', 'true', 'yes', 'on'].includes((env.HF_HUB_OFFLINE ?? '').toLowerCase())) {
    throw new CliError(`HF_HUB_OFFLINE is set, so ${wanted} is not downloaded; give the path of what is here.`)
  }
  const endpoint = (env.HF_ENDPOINT || DEFAULT_ENDPOINT).replace(/\/+$/, '')
  if (!/^https?:\/\/[^/\s]/.test(endpoint))
    throw new CliError(`HF_ENDPOINT=${endpoint} is not a URL: give one like ${DEFAULT_ENDPOINT}.`, 2)
  return { endpoint, token: (env.HF_TOKEN ?? storedToken(env))?.trim() || undefined }
}

/** What `hf auth login` keeps. */
function storedToken(env: Readonly<Record<string, string | undefined>>): string | undefined {
  const cache = env.XDG_CACHE_HOME ?? join(env.HOME ?? homedir(), '.cache')
  const file = env.HF_TOKEN_PATH ?? join(env.HF_HOME ?? join(cache, 'huggingface'), 'token')
  try {
    return readFileSync(file, 'utf8')
  } catch {
    return undefined
  }
}

/**
 * The files of repository `id` at `revision`, a branch, tag or commit.
 * @throws CliError when there is no such repository or revision, it may not be read, or the Hub cannot be reached
 */
export async function listRevision(hub: Hub, id: string, revision: string): Promise<HubRevision> {
  const url = `${hub.endpoint}/api/models/${id}/revision/${encodeURIComponent(revision)}?blobs=true`
  const response = await fetch(url, { headers: headers(hub) }).catch((error: unknown) => {
    throw unreachable(hub, error)
  })
  if (!response.ok) throw await refusal(hub, response, id, `the revision ${revision}`)
  const parsed = ModelInfo.safeParse(await response.json().catch(() => undefined))
  if (!parsed.success) {
    const issue = parsed.error.issues[0]!
    throw new CliError(
      `${hub.endpoint} describes ${id} in a way that is not the Hub's API (field "${issue.path.join('.')}"); check HF_ENDPOINT.`,
    )
  }
  const files = parsed.data.siblings.flatMap(({ rfilename: path, size, blobId, lfs }): HubFile[] => {
    if (lfs) return [{ path, bytes: lfs.size, hash: { kind: 'sha256', hex: lfs.sha256 } }]
    // What cannot be verified does not count as there.
    return blobId && typeof size === 'number' ? [{ path, bytes: size, hash: { kind: 'git', hex: blobId } }] : []
  })
  return { id, commit: parsed.data.sha, files }
}

/**
 * The bytes of `file` from `offset` on; where the answer starts is its status: 206 at the offset, 200 at the beginning.
 * @throws CliError when the file may not be read; TypeError as fetch does when the connection fails
 */
export async function openFile(hub: Hub, revision: HubRevision, file: HubFile, offset: number): Promise<Response> {
  const path = file.path.split('/').map(encodeURIComponent).join('/')
  const url = `${hub.endpoint}/${revision.id}/resolve/${revision.commit}/${path}`
  const response = await fetch(url, {
    headers: {
      ...headers(hub),
      // A compressed answer would have other offsets.
      'accept-encoding': 'identity',
      ...(offset > 0 ? { range: `bytes=${offset}-` } : {}),
    },
  })
  if (response.ok || response.status === 416 || response.status === 429 || response.status >= 500) return response
  throw await refusal(hub, response, revision.id, file.path)
}

function headers(hub: Hub): Record<string, string> {
  return { 'user-agent': 'polylora', ...(hub.token ? { authorization: `Bearer ${hub.token}` } : {}) }
}

/** What fetch's error says of the network, in a sentence. */
export function unreachable(hub: Hub, error: unknown): CliError {
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error
  const code = (cause as NodeJS.ErrnoException)?.code ?? (cause instanceof Error ? cause.message : String(cause))
  return new CliError(`${hub.endpoint} cannot be reached (${code}): check the network, or set HF_ENDPOINT.`, 3)
}

/** The Hub names its reasons in a header; it answers 401 also for what does not exist, unless one is logged in. */
async function refusal(hub: Hub, response: Response, id: string, what: string): Promise<CliError> {
  await response.body?.cancel()
  const { status } = response
  const page = `${hub.endpoint}/${id}`
  if (response.headers.get('x-error-message')?.startsWith('Invalid credentials')) {
    return new CliError(`${hub.endpoint} does not know this token: make a new one there, or unset HF_TOKEN.`)
  }
  switch (response.headers.get('x-error-code')) {
    case 'GatedRepo':
      return new CliError(
        hub.token
          ? `${id} is gated and this token may not read it: accept its terms at ${page} with the token's account.`
          : `${id} is gated: accept its terms at ${page} and set HF_TOKEN to a token of that account.`,
      )
    case 'RevisionNotFound':
    case 'EntryNotFound':
      return new CliError(`${id} has no such thing as ${what}: see ${page}/tree/main for what it has.`)
  }
  if (status === 401 || status === 403 || status === 404) {
    const hint = hub.token
      ? 'check the name, and what the token may read'
      : 'check the name, or set HF_TOKEN if private'
    return new CliError(`${hub.endpoint} has no model ${id} that may be read here (HTTP ${status}): ${hint}.`)
  }
  return new CliError(`${hub.endpoint} answered HTTP ${status} for ${what} of ${id}: try again later.`, 3)
}
