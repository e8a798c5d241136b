// The Worker as `wrangler deploy` bundles it, in workerd by itself: what runs at Cloudflare, without the proxies that
// `wrangler dev` puts before it. R2, D1 and Durable Objects are simulated in the same process.
import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import type { D1Database } from '@cloudflare/workers-types'
import { convertV4MiniflareOptions, Miniflare } from 'miniflare'
import { OFFLINE, WRANGLER } from '../start/launch.ts'
import { prepareDatabase } from '../start/local-registry.ts'
import { readRuntime } from '../start/worker-config.ts'

const REPOSITORY = fileURLToPath(new URL('../..', import.meta.url))

interface EdgeSetup {
  readonly backendUrl: string
  readonly secret: string
  /** Each has the key of a demo tenant. */
  readonly tenants: readonly string[]
  /** An empty folder for the bundle. */
  readonly outDir: string
}

export async function startEdgeInWorkerd({ backendUrl, secret, tenants, outDir }: EdgeSetup) {
  const args = ['--no-warnings', WRANGLER, 'deploy', '--dry-run', '--outdir', outDir, '--env', 'production']
  await promisify(execFile)(process.execPath, args, { cwd: REPOSITORY, env: { ...process.env, ...OFFLINE } })
  const miniflare = new Miniflare(
    convertV4MiniflareOptions({
      name: 'polylora',
      modules: true,
      script: readFileSync(join(outDir, 'index.js'), 'utf8'),
      ...(await readRuntime()),
      cf: false,
      unsafeDirectSockets: [{ host: '127.0.0.1', port: 0 }],
      bindings: { BACKENDS: backendUrl, POLYLORA_BACKEND_SECRET: secret },
      r2Buckets: { DELTAS: 'deltas' },
      d1Databases: { DB: 'polylora' },
      durableObjects: { METER: { className: 'TenantMeter', useSQLite: true } },
      handleStructuredLogs: ({ level, message }) => {
        if (level === 'error') process.stderr.write(`${message}\n`)
      },
    }),
  )
  await miniflare.ready
  const { DB } = await miniflare.getBindings<{ DB: D1Database }>()
  await prepareDatabase(DB, tenants)
  return { url: (await miniflare.unsafeGetDirectURL()).origin, stop: () => miniflare.dispose() }
}
