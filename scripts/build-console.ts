// Builds the console's page from functions/console into dist/console/site, which wrangler.toml serves; does nothing where
// that is current. Knows nothing of the page. Invariant: the site is whole, and the stamp beside it names its sources.
import { createHash } from 'node:crypto'
import {
  existsSync,
  globSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'vite'

const REPOSITORY = fileURLToPath(new URL('..', import.meta.url))
const DIST = join(REPOSITORY, 'dist/console')
const SITE = join(DIST, 'site')
const STAMP = join(DIST, 'stamp')
/** Beside the site, so that a finished one is put in place by renaming it. */
const UNFINISHED = 'unfinished-'

/** What the page may be made of: its own folder, what it may import, and the versions of the packages. */
const SOURCES = [
  '{functions,adapters,gpu-backend}/**/*.{ts,tsx,css,html}',
  'functions/console/public/*',
  'scripts/build-console.ts',
  'package-lock.json',
]

function stampOfSources(): string {
  const hash = createHash('sha256')
  for (const name of globSync(SOURCES, { cwd: REPOSITORY }).sort()) {
    hash.update(`${name}\n`).update(readFileSync(join(REPOSITORY, name)))
  }
  return hash.digest('hex')
}

function isCurrent(stamp: string): boolean {
  return existsSync(SITE) && existsSync(STAMP) && readFileSync(STAMP, 'utf8') === stamp
}

async function buildSite(stamp: string): Promise<void> {
  mkdirSync(DIST, { recursive: true })
  const outDir = mkdtempSync(join(DIST, UNFINISHED))
  await build({ root: join(REPOSITORY, 'functions/console'), logLevel: 'warn', build: { outDir } })
  rmSync(STAMP, { force: true })
  rmSync(SITE, { recursive: true, force: true })
  renameSync(outDir, SITE)
  writeFileSync(STAMP, stamp)
  // Those that were interrupted; one that runs at this moment finds the site current.
  for (const name of readdirSync(DIST).filter((name) => name.startsWith(UNFINISHED))) {
    rmSync(join(DIST, name), { recursive: true, force: true })
  }
}

const stamp = stampOfSources()
if (!isCurrent(stamp)) {
  await buildSite(stamp).catch((error: unknown) => {
    if (!isCurrent(stamp)) throw error
  })
}
