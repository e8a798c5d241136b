// Tenants in D1: who they are and what was agreed with them.
import * as z from 'zod/mini'
import { TERMS_COLUMNS, Terms, type TermsChange } from '../metering/terms.ts'
import { FRESH_MS } from '../remembered.ts'

const TenantRow = z.object({
  id: z.string(),
  created_ms: z.number(),
  /** When its deletion began: one that is still to be seen was left half done, and may be repeated. */
  deleting_ms: z.nullable(z.number()),
  ...Terms.shape,
})
export type TenantRow = z.infer<typeof TenantRow>

const COLUMNS = ['id', 'created_ms', 'deleting_ms', ...TERMS_COLUMNS].join(', ')

/**
 * So long a deleted tenant's name is given to nobody: other isolates may remember its keys and aliases, and would take one tenant
 * for the other. As long again for what has begun by then.
 */
export const NAME_REST_MS = 2 * FRESH_MS

/**
 * In one statement: no tenant is ever there without the terms that were agreed. What is absent of them is the column's default.
 * Undefined where there is a tenant of this name already, or was a moment ago.
 */
export async function tryCreateTenant(
  db: D1Database,
  id: string,
  terms: TermsChange,
  nowMs: number,
): Promise<TenantRow | undefined> {
  const given = givenTerms(terms)
  const columns = ['id', 'created_ms', ...given.map(([column]) => column)]
  const row = await db
    .prepare(
      `INSERT INTO tenants (${columns.join(', ')}) SELECT ${columns.map(() => '?').join(', ')}
       WHERE NOT EXISTS (SELECT 1 FROM receipts WHERE tenant = ? AND erased_ms > ?)
       ON CONFLICT (id) DO NOTHING RETURNING ${COLUMNS}`,
    )
    .bind(id, nowMs, ...given.map(([, value]) => value), id, nowMs - NAME_REST_MS)
    .first()
  return row ? TenantRow.parse(row) : undefined
}

export async function tryGetTenant(db: D1Database, id: string): Promise<TenantRow | undefined> {
  const row = await db.prepare(`SELECT ${COLUMNS} FROM tenants WHERE id = ?`).bind(id).first()
  return row ? TenantRow.parse(row) : undefined
}

export async function listTenants(db: D1Database): Promise<TenantRow[]> {
  const { results } = await db.prepare(`SELECT ${COLUMNS} FROM tenants ORDER BY id`).all()
  return z.array(TenantRow).parse(results)
}

/** Changes what is given of the terms. */
export async function changeTerms(db: D1Database, id: string, terms: TermsChange): Promise<void> {
  const given = givenTerms(terms)
  if (given.length === 0) return
  const assignments = given.map(([column]) => `${column} = ?`).join(', ')
  await db
    .prepare(`UPDATE tenants SET ${assignments} WHERE id = ?`)
    .bind(...given.map(([, value]) => value), id)
    .run()
}

/** Column and value of each that is given; null is a value. */
function givenTerms(terms: TermsChange) {
  return TERMS_COLUMNS.flatMap((column) => {
    const value = terms[column]
    return value === undefined ? [] : [[column, value] as const]
  })
}
