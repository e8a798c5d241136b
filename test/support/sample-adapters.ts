// The sample adapters as they are published: read from the files that some project saved, made canonical, hashed.
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { BaseModel } from '../../adapters/base-model.ts'
import { decodeDelta, encodeDeltaStream } from '../../adapters/canonical.ts'
import { digestOf } from '../../adapters/digest.ts'
import { importAdapter } from '../../adapters/import-adapter.ts'
import { openAdapterPath } from '../../scripts/directory-files.ts'
import type { EncodedDelta } from './random-delta.ts'
import { SAMPLE_NAMES, SAMPLES } from './samples.ts'

const HELD_OUT = join(import.meta.dirname, '../fixtures/held-out')

export interface SampleAdapter extends EncodedDelta {
  readonly tenant: string
}

/** A question that training has not seen, the tenant's answer, and what a right answer must contain: any one of `facts`. */
export interface HeldOutItem {
  readonly question: string
  readonly answer: string
  readonly facts: readonly string[]
}

export async function sampleAdapters(base: BaseModel): Promise<SampleAdapter[]> {
  return Promise.all(
    SAMPLE_NAMES.map(async (name) => {
      const source = await importAdapter(await openAdapterPath(join(SAMPLES, name)), { base })
      const pieces = await Array.fromAsync(encodeDeltaStream(source, base, 'f32'))
      const bytes = new Uint8Array(await new Blob(pieces).arrayBuffer())
      return { tenant: name, digest: await digestOf(bytes), bytes, delta: decodeDelta(bytes, base) }
    }),
  )
}

export function heldOut(tenant: string): HeldOutItem[] {
  const file = join(HELD_OUT, `${tenant}.json`)
  if (!existsSync(file)) throw new Error(`${file} is missing: every sample adapter has held-out questions.`)
  const { items } = JSON.parse(readFileSync(file, 'utf8')) as {
    items: { question: string; answer: string; fact: string | string[] }[]
  }
  return items.map(({ question, answer, fact }) => ({ question, answer, facts: [fact].flat() }))
}
