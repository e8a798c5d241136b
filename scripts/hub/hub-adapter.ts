// An adapter that lies in a repository of the Hugging Face Hub, as the file set that adapters/ reads: only the ranges that
// are asked for cross the network. Knows no adapter format. Invariant: all files are of one commit, whatever is pushed meanwhile.
import { type AdapterFile, type FileSet, fileSet } from '../../adapters/file-set.ts'
import { CliError } from '../cli-error.ts'
import { type Hub, type HubFile, type HubRevision, listRevision, openFile, unreachable } from './hub.ts'

/** Whether an operand names a Hub repository: `hf:owner/name` or `hf:owner/name@revision`. */
export function isHubId(operand: string): boolean {
  return operand.startsWith('hf:')
}

/** The repository's files at its revision (default main), with names that are safe to put into a folder. Throws CliError. */
export async function listHubAdapter(operand: string, hub: Hub): Promise<HubRevision> {
  const match = /^hf:([\w.-]+\/[\w.-]+)(?:@([\w./-]+))?$/.exec(operand)
  if (match === null) throw new CliError(`${operand} is not of the form hf:owner/name or hf:owner/name@revision.`, 2)
  const revision = await listRevision(hub, match[1]!, match[2] ?? 'main')
  for (const { path } of revision.files) checkPath(path)
  return revision
}

/** Throws CliError for a name that would leave the folder it is put in. */
function checkPath(path: string): void {
  const parts = path.split('/')
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is refused
  if (parts.some((part) => part === '' || part === '.' || part === '..') || /[\\\x00-\x1f]/.test(path)) {
    throw new CliError(
      `The repository has a file named ${JSON.stringify(path)}, which is no safe path; take the files by hand.`,
    )
  }
}

/** Tensors lie one after another and are asked for one by one: a request each would be hundreds. */
const READ_AHEAD_BYTES = 8 * 1024 ** 2

/** The repository as a file set that reads over the network, `readAheadBytes` at once. Throws CliError. */
export async function openHubAdapter(operand: string, hub: Hub, readAheadBytes = READ_AHEAD_BYTES): Promise<FileSet> {
  const revision = await listHubAdapter(operand, hub)
  return fileSet(revision.files.map((file) => readingAhead(hubFile(hub, revision, file), readAheadBytes)))
}

/** The file with its last piece kept in memory. */
function readingAhead(file: AdapterFile, pieceBytes: number): AdapterFile {
  let piece = { start: 0, bytes: new Uint8Array() }
  const read = async (start: number, end: number) => {
    if (start < piece.start || end > piece.start + piece.bytes.byteLength) {
      piece = {
        start,
        bytes: new Uint8Array(await file.read(start, Math.min(file.size, Math.max(end, start + pieceBytes)))),
      }
    }
    return piece.bytes.subarray(start - piece.start, end - piece.start)
  }
  return { name: file.name, size: file.size, read }
}

function hubFile(hub: Hub, revision: HubRevision, file: HubFile): AdapterFile {
  const read = async (start: number, end: number) => {
    const response = await openFile(hub, revision, file, start).catch((error: unknown) => {
      throw error instanceof CliError ? error : unreachable(hub, error)
    })
    // A server without ranges sends the file from its beginning.
    const skipped = response.status === 206 ? 0 : start
    const bytes = await readAtMost(response, skipped + end - start)
    if (response.ok && bytes.byteLength === skipped + end - start) return bytes.subarray(skipped)
    throw new CliError(`${hub.endpoint} sent only a part of ${file.path} (HTTP ${response.status}); try again.`, 3)
  }
  return { name: file.path, size: file.bytes, read }
}

/** The first `limit` bytes of an answer; the rest is not waited for. */
async function readAtMost(response: Response, limit: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(limit)
  let filled = 0
  for await (const piece of response.body ?? []) {
    const wanted = piece.subarray(0, limit - filled)
    bytes.set(wanted, filled)
    filled += wanted.byteLength
    if (filled === limit) break
  }
  return bytes.subarray(0, filled)
}
