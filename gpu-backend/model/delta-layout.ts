// How a built graph takes its deltas: of which groups it reads A in bytes, because it rounds their input to bytes itself.
// The factors of such inputs lie in a file beside the graph, so that whoever packs a delta packs it for that graph.
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { ModelConfig } from './model-config.ts'
import { type ProjectionGroup, projectionGroups, withSmoothing } from './projection-groups.ts'

/** [in] f32 of each group, one after another; zeros: its input is not rounded. */
const SMOOTHING_FILE = 'smoothing.bin'

/** Notes in the graph's directory how it takes its deltas. */
export async function writeSmoothing(dir: string, groups: readonly ProjectionGroup[]): Promise<void> {
  const factors = groups.map((group) => group.smoothing ?? new Float32Array(group.in))
  await writeFile(
    join(dir, SMOOTHING_FILE),
    Buffer.concat(factors.map((one) => new Uint8Array(one.buffer, one.byteOffset, one.byteLength))),
  )
}

/** The projection groups of the graph at `graphPath`, as it takes their deltas. */
export function graphGroups(config: ModelConfig, graphPath: string): ProjectionGroup[] {
  const file = readFileSync(join(dirname(graphPath), SMOOTHING_FILE))
  const factors = new Float32Array(new Uint8Array(file).buffer)
  let end = 0
  return withSmoothing(projectionGroups(config), (group) => {
    const start = end
    end += group.in
    const smoothing = factors.subarray(start, end)
    return smoothing[0] === 0 ? undefined : smoothing
  })
}

/** Names the layout that `groups` ask for: a delta that was packed for another must be packed anew. */
export function layoutOf(groups: readonly ProjectionGroup[]): string {
  const hash = createHash('sha256')
  for (const { name, smoothing, projections } of groups) {
    if (smoothing) hash.update(name).update(smoothing)
    for (const { module, factors } of projections) if (factors) hash.update(module).update(factors)
  }
  return hash.digest('hex')
}
