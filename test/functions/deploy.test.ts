import { execFile } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { gzipSync } from 'node:zlib'
import { afterAll, expect, test } from 'vitest'
import { type EdgeHarness, startEdge } from '../support/edge-harness.ts'
import { BACKEND_SECRET } from '../support/protocol-backend.ts'

const REPOSITORY = fileURLToPath(new URL('../..', import.meta.url))
const WRANGLER = join(dirname(createRequire(import.meta.url).resolve('wrangler/package.json')), 'wrangler-dist/cli.js')
const MAX_BUNDLE_BYTES = 200_000

const out = mkdtempSync(join(tmpdir(), 'polylora-bundle-'))
afterAll(() => rmSync(out, { recursive: true, force: true }))

test('the Worker bundles for production, small, and without a secret in its configuration', async () => {
  const env = { ...process.env, WRANGLER_SEND_METRICS: 'false', WRANGLER_HIDE_BANNER: 'true' }
  const args = ['--no-warnings', WRANGLER, 'deploy', '--dry-run', '--outdir', out, '--env', 'production']
  const { stdout } = await promisify(execFile)(process.execPath, args, { cwd: REPOSITORY, env })
  expect(stdout).toContain('--dry-run: exiting now.')
  for (const binding of ['METER', 'DB', 'DELTAS', 'BACKENDS']) expect(stdout).toContain(`env.${binding}`)
  const bundle = readFileSync(join(out, 'index.js'))
  expect(gzipSync(bundle).byteLength).toBeLessThan(MAX_BUNDLE_BYTES)
  const secrets = readFileSync(join(REPOSITORY, 'wrangler.toml'), 'utf8').match(/^\s*POLYLORA_\w+\s*=/m)
  expect(secrets).toBeNull()
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
