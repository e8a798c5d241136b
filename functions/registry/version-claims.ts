// A version on its way into D1: its digest is claimed before its bytes are stored, so that nobody erases them meanwhile, and is
// published once they are, or given up. Invariant: a claim is no version to anybody who asks.
import type { Digest } from '../../gpu-backend/protocol.ts'
import { aliasMovedTo } from './adapters.ts'
import { noteErasures, type VersionFilter } from './erasures.ts'
import type { AdapterName } from './names.ts'
import { MARK_MS } from './orphans.ts'

/** No upload of one request takes so long. */
const CLAIM_MS = 24 * 3_600_000

export interface NewVersion extends AdapterName {
  readonly digest: Digest
  readonly bytes: number
  /** The delta file's metadata, as JSON. */
  readonly header: string
  readonly nowMs: number
}

/** So many a tenant may have: all tenants share one database, which a single key could fill otherwise. */
export const MAX_VERSIONS = 10_000

/** Whether the tenant may have this version: it has it already, or not too many others. */
export async function hasRoom(db: D1Database, { tenant, name }: AdapterName, digest: Digest): Promise<boolean> {
  const others = await db
    .prepare('SELECT COUNT(*) AS n FROM versions WHERE tenant = ? AND NOT (name = ? AND digest = ?)')
    .bind(tenant, name, digest)
    .first<number>('n')
  return (others ?? 0) < MAX_VERSIONS
}

/**
 * Claims the digest before its bytes are stored, so that no deletion removes them meanwhile; a claim that is there already,
 * of an upload that may have died, becomes this one's. False where the same bytes are being deleted at this moment.
 */
export async function beginVersion(db: D1Database, version: NewVersion): Promise<boolean> {
  const { tenant, name, digest, bytes, header, nowMs } = version
  const [, claimed] = await db.batch([
    db
      .prepare(
        `INSERT INTO versions (tenant, name, digest, bytes, header, created_ms) SELECT ?1, ?2, ?3, ?4, ?5, ?6
         WHERE NOT EXISTS (SELECT 1 FROM deletions WHERE digest = ?3 AND at_ms > ?7)
           AND EXISTS (SELECT 1 FROM tenants WHERE id = ?1 AND deleting_ms IS NULL)
         ON CONFLICT (tenant, name, digest) DO UPDATE SET created_ms = excluded.created_ms WHERE ready = 0`,
      )
      .bind(tenant, name, digest, bytes, header, nowMs, nowMs - MARK_MS),
    db.prepare('SELECT 1 FROM versions WHERE tenant = ? AND name = ? AND digest = ?').bind(tenant, name, digest),
  ])
  return (claimed?.results.length ?? 0) > 0
}

/** Gives up a claim that did not come to a version; one that is published already stays, and a claim of somebody else. */
export async function abandonVersion(db: D1Database, { tenant, name, digest, nowMs }: NewVersion): Promise<void> {
  const own = 'ready = 0 AND tenant = ? AND name = ? AND digest = ? AND created_ms = ?'
  await removeVersions(db, { where: own, values: [tenant, name, digest, nowMs] }, nowMs)
}

/** As `abandonVersion`, for the claims of edges that died, or could not say so. */
export async function abandonClaims(db: D1Database, nowMs: number): Promise<void> {
  await removeVersions(db, { where: 'ready = 0 AND created_ms < ?', values: [nowMs - CLAIM_MS] }, nowMs)
}

/** Of bytes that are stored for them, whoever was told so, the sweep takes care. */
async function removeVersions(db: D1Database, versions: VersionFilter, nowMs: number): Promise<void> {
  const { where, values } = versions
  await db.batch([noteErasures(db, versions, nowMs), db.prepare(`DELETE FROM versions WHERE ${where}`).bind(...values)])
}

/**
 * The bytes are stored: the version becomes visible and the alias moves to it, both or neither; with `keepsAlias` only where it
 * points nowhere yet. False where the claim is gone: the name was deleted meanwhile, or its tenant, and so perhaps were the bytes.
 */
export async function publishVersion(
  db: D1Database,
  { tenant, name, digest, nowMs }: NewVersion,
  keepsAlias: boolean,
): Promise<boolean> {
  const [claimed] = await db.batch([
    db.prepare('UPDATE versions SET ready = 1 WHERE tenant = ? AND name = ? AND digest = ?').bind(tenant, name, digest),
    db
      .prepare(
        `INSERT INTO aliases (tenant, name, digest, updated_ms) SELECT ?1, ?2, ?3, ?4
         WHERE EXISTS (SELECT 1 FROM versions WHERE tenant = ?1 AND name = ?2 AND digest = ?3)
         ON CONFLICT (tenant, name) DO ${keepsAlias ? 'NOTHING' : `UPDATE SET ${aliasMovedTo('excluded.digest', 'excluded.updated_ms')}`}`,
      )
      .bind(tenant, name, digest, nowMs),
  ])
  return (claimed?.meta.changes ?? 0) > 0
}
