// Receipts of deleted tenants, in D1. One that names very many files is longer than a row may be: it is kept in pieces.
import * as z from 'zod/mini'
import { Receipt } from './receipt.ts'

/** A row of D1 holds 2 MB. */
const PIECE_CHARS = 1_000_000

/** For the batch that removes the tenant: kept only where that deletion is the one which began at `begunMs`. */
export function keepReceipt(db: D1Database, receipt: Receipt, begunMs: number): D1PreparedStatement[] {
  const text = asciiJson(receipt)
  const pieces = Array.from({ length: Math.ceil(text.length / PIECE_CHARS) }, (_, piece) =>
    text.slice(piece * PIECE_CHARS, (piece + 1) * PIECE_CHARS),
  )
  const ours = 'EXISTS (SELECT 1 FROM tenants WHERE id = ?1 AND deleting_ms = ?4)'
  const first = db.prepare(
    `INSERT OR IGNORE INTO receipts (tenant, erased_ms, receipt) SELECT ?1, ?2, ?3 WHERE ${ours}`,
  )
  const after = db.prepare(
    `INSERT OR IGNORE INTO receipt_rest (tenant, erased_ms, text, piece) SELECT ?1, ?2, ?3, ?5 WHERE ${ours}`,
  )
  const bound = [receipt.id, receipt.erased_ms] as const
  return pieces.map((piece, place) =>
    place === 0 ? first.bind(...bound, piece, begunMs) : after.bind(...bound, piece, begunMs, place),
  )
}

/** A piece of it has as many bytes as characters, wherever it is cut: payments have any ids. */
function asciiJson(value: object): string {
  return JSON.stringify(value).replace(
    /[^\0-\x7f]/g,
    (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`,
  )
}

const Pieces = z.array(z.object({ erased_ms: z.int(), text: z.string() }))

/** The latest first: a name that was used again may have been deleted again. */
export async function listReceipts(db: D1Database, tenant: string): Promise<Receipt[]> {
  const { results } = await db
    .prepare(
      `SELECT erased_ms, receipt AS text, 0 AS piece FROM receipts WHERE tenant = ?1
       UNION ALL SELECT erased_ms, text, piece FROM receipt_rest WHERE tenant = ?1 ORDER BY erased_ms DESC, piece`,
    )
    .bind(tenant)
    .all()
  const texts = new Map<number, string>()
  for (const { erased_ms: at, text } of Pieces.parse(results)) texts.set(at, (texts.get(at) ?? '') + text)
  return Array.from(texts.values(), (text) => Receipt.parse(JSON.parse(text)))
}
