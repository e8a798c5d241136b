import { execFile } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { gzipSync } from 'node:zlib'
import { afterAll, expect, test } from 'vitest'
import { readWorkerConfig } from '../../scripts/start/worker-config.ts'
import { type EdgeHarness, startEdge } from '../support/edge-harness.ts'
import { BACKEND_SECRET } from '../support/protocol-backend.ts'

const REPOSITORY = fileURLToPath(new URL('../..', import.meta.url))
const WRANGLER = join(dirname(createRequire(import.meta.url).resolve('wrangler/package.json')), 'wrangler-dist/cli.js')
const MAX_BUNDLE_BYTES = 200_000

const out = mkdtempSync(join(tmpdir(), 'polylora-bundle-'))
afterAll(() => rmSync(out, { recursive: true, force: true }))

test('the Worker bundles for production, and is small', async () => {
  const env = { ...process.env, WRANGLER_SEND_METRICS: 'false', WRANGLER_HIDE_BANNER: 'true' }
  const args = ['--no-warnings', WRANGLER, 'deploy', '--dry-run', '--outdir', out, '--env', 'production']
  const { stdout } = await promisify(execFile)(process.execPath, args, { cwd: REPOSITORY, env })
  expect(stdout).toContain('--dry-run: exiting now.')
  for (const binding of ['METER', 'DB', 'DELTAS', 'BACKENDS']) expect(stdout).toContain(`env.${binding}`)
  const bundle = readFileSync(join(out, 'index.js'))
  expect(gzipSync(bundle).byteLength).toBeLessThan(MAX_BUNDLE_BYTES)
})

test.each([
  ['this machine', undefined],
  ['production', 'production'],
])('the configuration for %s has all that the Worker goes by, and no secret', async (_, environment) => {
  const config = await readWorkerConfig(environment)
  // Deletions are finished, uploads erased and records summed up by the sweep alone.
  expect(config.triggers.crons).toEqual(['* * * * *'])
  // Without it nobody is told that a client has left.
  expect(config.compatibility_flags).toContain('enable_request_signal')
  expect(config.durable_objects.bindings).toEqual([{ name: 'METER', class_name: 'TenantMeter' }])
  expect(config.migrations).toEqual([{ tag: 'v1', new_sqlite_classes: ['TenantMeter'] }])
  expect(config.d1_databases).toMatchObject([{ binding: 'DB', migrations_dir: 'functions/migrations' }])
  expect(config.r2_buckets).toMatchObject([{ binding: 'DELTAS' }])
  expect(config.secrets?.required).toContain('POLYLORA_BACKEND_SECRET')
  const secrets = Object.keys(config.vars).filter((name) => /SECRET|KEY|TOKEN|PASSWORD/i.test(name))
  expect(secrets).toEqual([])
  if (environment === undefined) return
  // A deployment without the operator's key would have no admin API.
  expect(config.secrets?.required).toContain('POLYLORA_ADMIN_KEY')
  expect(config.vars).toHaveProperty('USAGE_RECORD_DAYS')
  expect(config.vars).not.toHaveProperty('LOCAL_ONLY')
  expect(config.observability).toMatchObject({ enabled: true })
})

test.each([
  ['http://127.0.0.1:1', {}, /secret POLYLORA_BACKEND_SECRET is missing: run `wrangler secret put/],
  ['http://127.0.0.1:1', { POLYLORA_BACKEND_SECRET: 'short' }, /has 5 characters: use at least 32/],
  ['', { POLYLORA_BACKEND_SECRET: BACKEND_SECRET }, /BACKENDS has no URL in place 1: set it to one or more/],
  ['http://a,ftp://x', { POLYLORA_BACKEND_SECRET: BACKEND_SECRET }, /BACKENDS has no URL in place 2/],
  [['http://a', 'ftp://x'], { POLYLORA_BACKEND_SECRET: BACKEND_SECRET }, /BACKENDS has no URL in place 2/],
  ['["http://a"', { POLYLORA_BACKEND_SECRET: BACKEND_SECRET }, /BACKENDS is no list: set it to one or more/],
  [
    'http://a',
    { POLYLORA_BACKEND_SECRET: BACKEND_SECRET, BACKEND_PATIENCE_MS: 'soon' },
    /BACKEND_PATIENCE_MS is "soon"/,
  ],
  ['["http://a", 7]', { POLYLORA_BACKEND_SECRET: BACKEND_SECRET }, /set it to one or more http\(s\) URLs/],
])(
  'a deployment with BACKENDS %j and secrets %j says in one sentence what is wrong',
  async (backends, secrets, sentence) => {
    const edge: EdgeHarness = await startEdge(backends, secrets as Record<string, string>)
    try {
      const response = await edge.call('any', '/v1/models')
      expect(response.status).toBe(500)
      const { error } = (await response.json()) as { error: { code: string; message: string } }
      expect(error.code).toBe('misconfigured')
      expect(error.message).toMatch(sentence)
      expect(error.message).not.toContain('://')
      expect((await fetch(`${edge.url}/healthz`)).status).toBe(200)
    } finally {
      await edge.close()
    }
  },
)
