// Adapters in D1: versions (a digest and its report) and aliases (the digest that a name points at now).
// Knows no bytes. Invariant: an alias points only at a version of the same tenant and name whose object is stored.
import * as z from 'zod/mini'
import { Digest } from '../../gpu-backend/protocol.ts'
import { noteErasures } from './erasures.ts'
import type { AdapterName } from './names.ts'

const VersionRow = z.object({
  digest: Digest,
  bytes: z.number(),
  header: z.string(),
  created_ms: z.number(),
})
export type VersionRow = z.infer<typeof VersionRow>

const AdapterRow = z.object({
  ...VersionRow.shape,
  name: z.string(),
  updated_ms: z.number(),
  canary_digest: z.nullable(Digest),
  canary_weight: z.int(),
  previous_digest: z.nullable(Digest),
  may_leave: z.int(),
})
export type AdapterRow = z.infer<typeof AdapterRow>

const READY_ADAPTERS = `SELECT a.name, a.digest, a.updated_ms, a.canary_digest, a.canary_weight, a.previous_digest, a.may_leave, v.bytes, v.header, v.created_ms
  FROM aliases a JOIN versions v ON v.tenant = a.tenant AND v.name = a.name AND v.digest = a.digest`

const AliasRow = z.object({
  digest: Digest,
  /** Fingerprint of the base model that the version was made for. */
  base: z.string(),
  canary_digest: z.nullable(Digest),
  canary_base: z.nullable(z.string()),
  canary_weight: z.int(),
  previous_digest: z.nullable(Digest),
})
export type AliasRow = z.infer<typeof AliasRow>

export async function tryGetAlias(db: D1Database, { tenant, name }: AdapterName): Promise<AliasRow | undefined> {
  const row = await db
    .prepare(
      `SELECT a.digest, v.header ->> '$.base' AS base, a.canary_digest, c.header ->> '$.base' AS canary_base,
         a.canary_weight, a.previous_digest
       FROM aliases a JOIN versions v ON v.tenant = a.tenant AND v.name = a.name AND v.digest = a.digest
       LEFT JOIN versions c ON c.tenant = a.tenant AND c.name = a.name AND c.digest = a.canary_digest
       WHERE a.tenant = ? AND a.name = ?`,
    )
    .bind(tenant, name)
    .first()
  return row ? AliasRow.parse(row) : undefined
}

/** A stored version as if the name pointed at it and nothing else; undefined where there is no such version. */
export async function tryPinVersion(
  db: D1Database,
  { tenant, name }: AdapterName,
  digest: Digest,
): Promise<AliasRow | undefined> {
  const row = await db
    .prepare(
      `SELECT digest, header ->> '$.base' AS base, NULL AS canary_digest, NULL AS canary_base, 0 AS canary_weight, NULL AS previous_digest
       FROM versions WHERE tenant = ? AND name = ? AND digest = ? AND ready = 1`,
    )
    .bind(tenant, name, digest)
    .first()
  return row ? AliasRow.parse(row) : undefined
}

/** Whether any name of the tenant has a version of these bytes. */
export async function isPublished(db: D1Database, tenant: string, digest: Digest): Promise<boolean> {
  const row = await db
    .prepare(
      `SELECT 1 FROM versions v JOIN tenants t ON t.id = v.tenant
       WHERE v.tenant = ? AND v.digest = ? AND v.ready = 1 AND t.deleting_ms IS NULL`,
    )
    .bind(tenant, digest)
    .first()
  return row !== null
}

/** Every adapter of a tenant, by name. */
export async function listAdapters(db: D1Database, tenant: string): Promise<AdapterRow[]> {
  const { results } = await db.prepare(`${READY_ADAPTERS} WHERE a.tenant = ? ORDER BY a.name`).bind(tenant).all()
  return z.array(AdapterRow).parse(results)
}

/** A version's report, as JSON; null where it has none. */
export async function tryGetReport(
  db: D1Database,
  { tenant, name }: AdapterName,
  digest: Digest,
): Promise<string | null> {
  return db
    .prepare('SELECT report FROM versions WHERE tenant = ? AND name = ? AND digest = ?')
    .bind(tenant, name, digest)
    .first<string>('report')
}

export async function tryGetAdapter(db: D1Database, { tenant, name }: AdapterName): Promise<AdapterRow | undefined> {
  const row = await db.prepare(`${READY_ADAPTERS} WHERE a.tenant = ? AND a.name = ?`).bind(tenant, name).first()
  return row ? AdapterRow.parse(row) : undefined
}

/** All stored versions of a name, newest first. */
export async function listVersions(db: D1Database, { tenant, name }: AdapterName): Promise<VersionRow[]> {
  const { results } = await db
    .prepare(
      `SELECT digest, bytes, header, created_ms FROM versions
       WHERE tenant = ? AND name = ? AND ready = 1 ORDER BY created_ms DESC, digest`,
    )
    .bind(tenant, name)
    .all()
  return z.array(VersionRow).parse(results)
}

/** SQL of what is set in an alias that moves: a canary ends, and the way back stays where it points there already. */
export function aliasMovedTo(digest: string, updatedMs: string): string {
  return `previous_digest = CASE WHEN digest = ${digest} THEN previous_digest ELSE digest END, digest = ${digest},
    canary_digest = NULL, canary_weight = 0, updated_ms = ${updatedMs}`
}

/**
 * Moves a name to the version `to`, which it has, where it still points at `from`: of two who move it at once only one succeeds.
 * False where it points elsewhere, or there is no such version.
 */
export async function moveAlias(
  db: D1Database,
  { tenant, name }: AdapterName,
  { from, to, nowMs }: { from: Digest; to: Digest; nowMs: number },
): Promise<boolean> {
  const result = await db
    .prepare(
      `UPDATE aliases SET ${aliasMovedTo('?1', '?2')}
       WHERE tenant = ?3 AND name = ?4 AND digest = ?5 AND EXISTS
         (SELECT 1 FROM versions WHERE tenant = ?3 AND name = ?4 AND digest = ?1 AND ready = 1)`,
    )
    .bind(to, nowMs, tenant, name, from)
    .run()
  return result.meta.changes > 0
}

/**
 * Gives `weight` thousandths of a name's requests to `digest`, a version that it has; null, with a weight of 0, ends it. False
 * where there is no such version, or no such name.
 */
export async function setCanary(
  db: D1Database,
  { tenant, name }: AdapterName,
  { digest, weight, nowMs }: { digest: Digest | null; weight: number; nowMs: number },
): Promise<boolean> {
  const result = await db
    .prepare(
      `UPDATE aliases SET canary_digest = ?1, canary_weight = ?2, updated_ms = ?3
       WHERE tenant = ?4 AND name = ?5 AND (?1 IS NULL OR EXISTS
         (SELECT 1 FROM versions WHERE tenant = ?4 AND name = ?5 AND digest = ?1 AND ready = 1))`,
    )
    .bind(digest, weight, nowMs, tenant, name)
    .run()
  return result.meta.changes > 0
}

/** Attaches the publisher's report to a version. False where there is no such version. */
export async function setReport(
  db: D1Database,
  { tenant, name }: AdapterName,
  digest: Digest,
  report: string,
): Promise<boolean> {
  const result = await db
    .prepare('UPDATE versions SET report = ? WHERE tenant = ? AND name = ? AND digest = ? AND ready = 1')
    .bind(report, tenant, name, digest)
    .run()
  return result.meta.changes > 0
}

const RemovedVersions = z.array(z.object({ digest: Digest, shared: z.int() }))

/** Removes the name with all its versions. Returns their digests, and of these the ones that no other name of the tenant has. */
export async function deleteAdapter(
  db: D1Database,
  { tenant, name }: AdapterName,
  nowMs: number,
): Promise<{ digests: Digest[]; gone: Digest[] }> {
  const [removed] = await db.batch([
    db
      .prepare(
        `SELECT digest, EXISTS (SELECT 1 FROM versions o WHERE o.digest = v.digest AND o.tenant = v.tenant
           AND o.name <> v.name AND o.ready = 1) AS shared
         FROM versions v WHERE tenant = ? AND name = ?`,
      )
      .bind(tenant, name),
    noteErasures(db, { where: 'tenant = ? AND name = ?', values: [tenant, name] }, nowMs),
    db.prepare('DELETE FROM versions WHERE tenant = ? AND name = ?').bind(tenant, name),
    db.prepare('DELETE FROM aliases WHERE tenant = ? AND name = ?').bind(tenant, name),
  ])
  const versions = RemovedVersions.parse(removed?.results)
  return {
    digests: versions.map(({ digest }) => digest),
    gone: versions.filter(({ shared }) => shared === 0).map(({ digest }) => digest),
  }
}
