// The sample adapters: one folder a tenant, published through the edge as any customer would.
// Invariant: a sample that is already published, as it is, for this base model is left alone.
import { readdirSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import * as z from 'zod'
import type { BaseModel } from '../../adapters/base-model.ts'
import { CliError } from '../cli-error.ts'
import { openAdapterPath } from '../directory-files.ts'
import { callEdgeJson } from '../edge-client.ts'
import { publishAdapter } from '../publish.ts'
import { devKey } from './local-registry.ts'
import type { SampleStamps } from './sample-stamps.ts'

const SAMPLES = fileURLToPath(new URL('../../adapters/samples', import.meta.url))
const ADAPTER_NAME = 'support'

export interface Sample {
  readonly tenant: string
  readonly folder: string
  /** The adapter's. */
  readonly name: string
  /** `tenant/support` */
  readonly model: string
}

export function listSamples(): Sample[] {
  return readdirSync(SAMPLES, { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map(({ name: tenant }) => ({
      tenant,
      folder: `${SAMPLES}/${tenant}`,
      name: ADAPTER_NAME,
      model: `${tenant}/${ADAPTER_NAME}`,
    }))
    .sort((a, b) => (a.tenant < b.tenant ? -1 : 1))
}

const Listed = z.object({ data: z.array(z.object({ id: z.string(), base: z.string() })) })

/** Publishes `sample` where the edge lacks it for `base`. Throws CliError. */
export async function ensurePublished(
  edgeUrl: string,
  sample: Sample,
  base: BaseModel,
  stamps: SampleStamps,
): Promise<void> {
  const edge = { url: edgeUrl, apiKey: devKey(sample.tenant) }
  const { data } = await callEdgeJson(edge, '/v1/adapters', Listed)
  const published = data.some((adapter) => adapter.id === sample.model && adapter.base === base.fingerprint)
  if (published && stamps.isCurrent(sample.folder, sample.model)) return
  const files = await openAdapterPath(sample.folder)
  try {
    await publishAdapter({ edge, files, tenant: sample.tenant, name: sample.name })
    stamps.set(sample.folder, sample.model)
  } catch (error) {
    throw new CliError(`The sample ${sample.model} cannot be published: ${sentence(error)}`)
  }
}

function sentence(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
