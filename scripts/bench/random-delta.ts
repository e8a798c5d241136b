// Makes canonical deltas of a given rank with small random values: the size and shape of real ones, for load.
import { type BaseModel, targetModules } from '../../adapters/base-model.ts'
import { encodeDelta } from '../../adapters/canonical.ts'
import type { DeltaModule } from '../../adapters/delta.ts'
import { digestOf } from '../../adapters/digest.ts'

/** Small enough that the model still generates, so that the bench measures work and not infinities. */
const AMPLITUDE = 0.01

/** A delta on every projection of `base` (not on embeddings or head); equal seeds give equal bytes. */
export async function randomDelta(
  base: BaseModel,
  rank: number,
  seed: number,
): Promise<{ digest: string; bytes: Uint8Array<ArrayBuffer> }> {
  let state = seed >>> 0
  const fill = (length: number) => {
    const values = new Float32Array(length)
    for (let i = 0; i < length; i++) {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0
      values[i] = (state / 2 ** 32 - 0.5) * AMPLITUDE
    }
    return values
  }
  const modules = new Map<string, DeltaModule>()
  for (const [path, target] of targetModules(base)) {
    if (!path.includes('_proj')) continue
    modules.set(path, { rank, in: target.in, out: target.out, a: fill(rank * target.in), b: fill(target.out * rank) })
  }
  const bytes = encodeDelta({ metadata: { base: base.fingerprint, sourceFormat: 'random' }, modules }, base)
  return { digest: await digestOf(bytes), bytes }
}
