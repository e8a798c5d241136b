// How a built graph takes its deltas: of which groups it reads A in bytes, because it rounds their input to bytes itself.
// The factors of such inputs lie in a file beside the graph, so that whoever packs a delta packs it for that graph.
import { createHash } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { ModelConfig } from './model-config.ts'
import { type ProjectionGroup, projectionGroups, roundedGroups } from './projection-groups.ts'

/** [in] f32 of each group with smoothing, one after another. */
const SMOOTHING_FILE = 'smoothing.bin'

/** Notes in the graph's directory how it takes its deltas. */
export async function writeSmoothing(dir: string, groups: readonly ProjectionGroup[]): Promise<void> {
  const factors = groups.flatMap(({ smoothing }) => (smoothing ? [smoothing] : []))
  if (factors.length > 0) await writeFile(join(dir, SMOOTHING_FILE), Float32Array.from(factors.flatMap((f) => [...f])))
}

/** The projection groups of the graph at `graphPath`, as it takes their deltas. */
export function graphGroups(config: ModelConfig, graphPath: string): ProjectionGroup[] {
  const file = join(dirname(graphPath), SMOOTHING_FILE)
  if (!existsSync(file)) return projectionGroups(config)
  const factors = new Float32Array(new Uint8Array(readFileSync(file)).buffer)
  const smoothing = new Map<string, Float32Array>()
  let offset = 0
  for (const group of projectionGroups(config).filter(({ besideResidual }) => besideResidual)) {
    smoothing.set(group.name, factors.subarray(offset, offset + group.in))
    offset += group.in
  }
  return roundedGroups(config, smoothing)
}

/** Names the layout that `groups` ask for: a delta that was packed for another must be packed anew. */
export function layoutOf(groups: readonly ProjectionGroup[]): string {
  const hash = createHash('sha256')
  for (const { name, smoothing } of groups) if (smoothing) hash.update(name).update(smoothing)
  return hash.digest('hex')
}
