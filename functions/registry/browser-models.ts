// The base model as browsers download it, in D1: one manifest for each base. The files themselves are in object storage.
import { BrowserModel, modelFiles } from '../../gpu-backend/browser/manifest.ts'
import type { Digest } from '../../gpu-backend/protocol.ts'

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
  await db
    .prepare('INSERT OR REPLACE INTO browser_models (base, manifest, updated_ms) VALUES (?, ?, ?)')
    .bind(model.base.fingerprint, JSON.stringify(model), nowMs)
    .run()
  return unneeded(db, before)
}

/** Browsers may not download this base any more. Returns the files that none needs any more; undefined where there was none. */
export async function deleteBrowserModel(db: D1Database, base: string): Promise<Digest[] | undefined> {
  const before = await tryGetBrowserModel(db, base)
  if (!before) return undefined
  await db.prepare('DELETE FROM browser_models WHERE base = ?').bind(base).run()
  return unneeded(db, before)
}

async function unneeded(db: D1Database, before: BrowserModel | undefined): Promise<Digest[]> {
  if (!before) return []
  const needed = new Set(
    (await listBrowserModels(db)).flatMap((model) => modelFiles(model).map(({ digest }) => digest)),
  )
  return modelFiles(before).flatMap(({ digest }) => (needed.has(digest) ? [] : [digest]))
}
