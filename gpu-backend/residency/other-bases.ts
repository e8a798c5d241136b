// What other base models have left on disk: each base has a folder of its own, and no tier counts the others'.
// Knows nothing of what is in a delta. Invariant: what another process still uses is left, since using it sets its time.
import { readdirSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { tryDigest, WRITING_SUFFIX } from './delta-file.ts'

/** A base that is changed back within a week finds its deltas; later the edge sends them again. */
const KEPT_MS = 7 * 24 * 3_600_000
/** As `folderOf` names them. */
const BASE_FOLDER = /^[0-9a-f]{16}$/

/** Removes from the folders in `root`, but for `ownFolder`, the deltas that have not been used for long. Returns their bytes. */
export function removeOtherBases(root: string, ownFolder: string, nowMs: number): number {
  let bytes = 0
  for (const folder of readdirSync(root, { withFileTypes: true })) {
    const isAnother = folder.isDirectory() && BASE_FOLDER.test(folder.name) && folder.name !== ownFolder
    if (isAnother) bytes += removeOld(join(root, folder.name), nowMs - KEPT_MS)
  }
  return bytes
}

function removeOld(dir: string, beforeMs: number): number {
  let bytes = 0
  for (const name of readdirSync(dir)) {
    if (tryDigest(name) === undefined && !name.endsWith(WRITING_SUFFIX)) continue
    const file = statSync(join(dir, name), { throwIfNoEntry: false })
    if (!file?.isFile() || file.mtimeMs >= beforeMs) continue
    rmSync(join(dir, name), { force: true })
    bytes += file.size
  }
  return bytes
}
