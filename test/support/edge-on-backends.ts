import { afterAll } from 'vitest'
import { ADMIN_KEY, type EdgeHarness, startEdge } from './edge-harness.ts'
import { BACKEND_SECRET, ProtocolBackend } from './protocol-backend.ts'

interface EdgeOnBackends {
  readonly edge: EdgeHarness
  /** The first, or the only one. */
  readonly backend: ProtocolBackend
  readonly backends: readonly ProtocolBackend[]
}

/** An edge with `count` backends of its own, and with these settings, until the tests of the file have ended. */
export async function edgeOnBackends(count = 1, settings: Record<string, string> = {}): Promise<EdgeOnBackends> {
  const backends = await Promise.all(Array.from({ length: count }, () => new ProtocolBackend().listen()))
  const edge = await startEdge(
    // As wrangler.toml may name them; some tests have them as text.
    backends.map(({ url }) => url),
    { POLYLORA_BACKEND_SECRET: BACKEND_SECRET, POLYLORA_ADMIN_KEY: ADMIN_KEY, ...settings },
  )
  afterAll(async () => {
    await edge.close()
    for (const backend of backends) await backend.close()
  })
  return { edge, backend: backends[0]!, backends }
}
