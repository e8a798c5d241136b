// The local D1 database before the edge starts: migrations applied, demo tenants and their fixed keys written.
// This is what an operator does with `wrangler d1` on a real deployment; the Worker itself has no such door.
import { createHash } from 'node:crypto'
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { D1Database } from '@cloudflare/workers-types'
import { OFFLINE } from './launch.ts'
import { readRuntime } from './worker-config.ts'

const MIGRATIONS = fileURLToPath(new URL('../../functions/migrations', import.meta.url))
const SCOPES = 'inference adapters usage'
/** Where `wrangler dev --persist-to DIR` keeps its state below DIR. */
const WRANGLER_STATE = 'v3'

/** The key of a demo tenant. Fixed: it only ever opens a server on 127.0.0.1. */
export function devKey(tenant: string): string {
  return `dev-${tenant}`
}

/** Brings the database in `persistTo` up to date, with a key for each of `tenants`. Throws where the state is damaged. */
export async function prepareRegistry(persistTo: string, tenants: readonly string[]): Promise<void> {
  // Read when wrangler is loaded.
  Object.assign(process.env, OFFLINE)
  const { getPlatformProxy } = await import('wrangler')
  mkdirSync(persistTo, { recursive: true })
  const { compatibilityDate } = await readRuntime()
  const configPath = join(persistTo, 'registry.json')
  writeFileSync(
    configPath,
    JSON.stringify({
      name: 'polylora',
      compatibility_date: compatibilityDate,
      d1_databases: [{ binding: 'DB', database_name: 'polylora' }],
    }),
  )
  const proxy = await getPlatformProxy<{ DB: D1Database }>({
    configPath,
    persist: { path: join(persistTo, WRANGLER_STATE) },
    envFiles: [],
    remoteBindings: false,
  })
  try {
    await prepareDatabase(proxy.env.DB, tenants)
  } finally {
    await proxy.dispose()
  }
}

/** The same for a database that is open already. */
export async function prepareDatabase(db: D1Database, tenants: readonly string[]): Promise<void> {
  await migrate(db)
  await addTenants(db, tenants)
}

/** As `wrangler d1 migrations apply` does, in its own table, so that either may follow the other. */
export async function migrate(db: D1Database): Promise<void> {
  const { unstable_splitSqlQuery: splitSql } = await import('wrangler')
  await db
    .prepare(
      `CREATE TABLE IF NOT EXISTS d1_migrations (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT UNIQUE,
       applied_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP NOT NULL)`,
    )
    .run()
  const { results } = await db.prepare('SELECT name FROM d1_migrations').all<{ name: string }>()
  const applied = new Set(results.map(({ name }) => name))
  const files = readdirSync(MIGRATIONS).filter((file) => file.endsWith('.sql') && !applied.has(file))
  for (const file of files.sort()) {
    const statements = splitSql(readFileSync(join(MIGRATIONS, file), 'utf8'))
    const record = db.prepare('INSERT INTO d1_migrations (name) VALUES (?)').bind(file)
    await db.batch([...statements.map((statement) => db.prepare(statement)), record])
  }
}

async function addTenants(db: D1Database, tenants: readonly string[]): Promise<void> {
  if (tenants.length === 0) return
  const nowMs = Date.now()
  const tenant = db.prepare('INSERT OR IGNORE INTO tenants (id, created_ms) VALUES (?, ?)')
  const key = db.prepare(
    'INSERT OR IGNORE INTO api_keys (id, hash, prefix, tenant, scopes, created_ms) VALUES (?, ?, ?, ?, ?, ?)',
  )
  await db.batch(
    tenants.flatMap((id) => [
      tenant.bind(id, nowMs),
      key.bind(`key_dev_${id}`, sha256(devKey(id)), devKey(id).slice(0, 6), id, SCOPES, nowMs),
    ]),
  )
}

function sha256(text: string): string {
  return createHash('sha256').update(text).digest('hex')
}
