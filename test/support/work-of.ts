// The work of a backend's route, which a token must be for.
import type { Work } from '../../gpu-backend/capability.ts'

const DELTA_WORK: Record<string, Work> = { PUT: 'admit', DELETE: 'evict', HEAD: 'look' }
const WORK: Record<string, Work> = { '/v1/embeddings': 'embed', '/v1/residency': 'list' }

/** `generate` where there is no such route. */
export function workOf(method: string, path: string): Work {
  return (path.startsWith('/v1/adapters/') ? DELTA_WORK[method] : WORK[path]) ?? 'generate'
}
