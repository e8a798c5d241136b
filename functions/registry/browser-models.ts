// The base model as browsers download it, in D1: one manifest for each base, and which files there may be in object storage.
// Invariant: a file in storage is named by a manifest, or is noted here, and then erased in the end.
import * as z from 'zod/mini'
import { BrowserModel, modelFiles } from '../../gpu-backend/browser/manifest.ts'
import { Digest } from '../../gpu-backend/protocol.ts'
import type { ObjectStore } from './objects.ts'

/** So long a file waits for the manifest that names it. */
const KEEP_MS = 7 * 86_400_000
/** So many a sweep. */
const BATCH = 50

const Noted = z.array(z.object({ digest: Digest }))

/** The manifest for the base with this fingerprint. */
export async function tryGetBrowserModel(db: D1Database, base: string): Promise<BrowserModel | undefined> {
  const row = await db
    .prepare('SELECT manifest FROM browser_models WHERE base = ?')
    .bind(base)
    .first<{ manifest: string }>()
  return row ? BrowserModel.parse(JSON.parse(row.manifest)) : undefined
}

/** Every base's manifest. */
async function listBrowserModels(db: D1Database): Promise<BrowserModel[]> {
  const { results } = await db.prepare('SELECT manifest FROM browser_models').all<{ manifest: string }>()
  return results.map(({ manifest }) => BrowserModel.parse(JSON.parse(manifest)))
}

/** From here on browsers download `model`. Returns the files that none needs any more. */
export async function setBrowserModel(db: D1Database, model: BrowserModel, nowMs: number): Promise<Digest[]> {
  const before = await tryGetBrowserModel(db, model.base.fingerprint)
  const publish = db
    .prepare('INSERT OR REPLACE INTO browser_models (base, manifest, updated_ms) VALUES (?, ?, ?)')
    .bind(model.base.fingerprint, JSON.stringify(model), nowMs)
  await db.batch([publish, noteAll(db, before, nowMs)])
  return unneeded(db, before)
}

/** Browsers may not download this base any more. Returns the files that none needs any more; undefined where there was none. */
export async function deleteBrowserModel(db: D1Database, base: string, nowMs: number): Promise<Digest[] | undefined> {
  const before = await tryGetBrowserModel(db, base)
  if (!before) return undefined
  const withdraw = db.prepare('DELETE FROM browser_models WHERE base = ?').bind(base)
  await db.batch([withdraw, noteAll(db, before, nowMs)])
  return unneeded(db, before)
}

/** To be called before a file is stored: it stays that long without a manifest. */
export async function noteBrowserFile(db: D1Database, digest: Digest, nowMs: number): Promise<void> {
  const note = db.prepare('INSERT OR REPLACE INTO browser_files (digest, due_ms) VALUES (?, ?)')
  await note.bind(digest, nowMs + KEEP_MS).run()
}

/** Erases some of the files that have waited for too long. */
export async function eraseUnnamedFiles(db: D1Database, files: ObjectStore, nowMs: number): Promise<void> {
  const due = db.prepare('SELECT digest FROM browser_files WHERE due_ms <= ? ORDER BY due_ms LIMIT ?')
  const { results } = await due.bind(nowMs, BATCH).all()
  if (results.length === 0) return
  const digests = Noted.parse(results).map(({ digest }) => digest)
  await files.delete(await unnamed(db, digests))
  // One that has been sent again meanwhile stays noted.
  const forget = db.prepare(
    'DELETE FROM browser_files WHERE digest IN (SELECT value FROM json_each(?)) AND due_ms <= ?',
  )
  await forget.bind(JSON.stringify(digests), nowMs).run()
}

/** For the batch that ends a manifest: whoever erases its files may not get that far, and the sweep does it then. */
function noteAll(db: D1Database, before: BrowserModel | undefined, nowMs: number): D1PreparedStatement {
  const note = db.prepare('INSERT OR REPLACE INTO browser_files (digest, due_ms) SELECT value, ?2 FROM json_each(?1)')
  return note.bind(JSON.stringify(digestsOf(before)), nowMs)
}

async function unneeded(db: D1Database, before: BrowserModel | undefined): Promise<Digest[]> {
  return before ? unnamed(db, digestsOf(before)) : []
}

/** Those of `digests` that no base's manifest names. */
async function unnamed(db: D1Database, digests: readonly Digest[]): Promise<Digest[]> {
  const named = new Set((await listBrowserModels(db)).flatMap(digestsOf))
  return digests.filter((digest) => !named.has(digest))
}

function digestsOf(model: BrowserModel | undefined): Digest[] {
  return model ? modelFiles(model).map(({ digest }) => digest) : []
}
