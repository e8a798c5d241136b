// Lets the browsers of this machine run the embedded base model and the sample adapters themselves, as an operator would.
// Knows the edge's API only. Invariant: what is published already is not sent again, and a sample is let out once: what an
// operator decides afterwards stays.
import type { BrowserModel } from '../../gpu-backend/browser/manifest.ts'
import { EMBEDDED_MODEL } from '../../gpu-backend/config.ts'
import { callEdge } from '../edge-client.ts'
import { type PublishedBrowserModel, publishBrowserModel } from '../publish-browser-model.ts'
import { LOCAL_ADMIN_KEY } from './launch.ts'
import type { SampleStamps } from './sample-stamps.ts'
import type { Sample } from './samples.ts'

interface BrowserAccess {
  readonly weights: BrowserModel['weights']
  /** Where the backend has built the same graph. */
  readonly cacheDir: string
  readonly samples: readonly Sample[]
  readonly stamps: SampleStamps
  readonly onProgress: (uploadedBytes: number, totalBytes: number) => void
}

/** Throws CliError. */
export async function openToBrowsers(
  edgeUrl: string,
  { weights, cacheDir, samples, stamps, onProgress }: BrowserAccess,
): Promise<PublishedBrowserModel> {
  const edge = { url: edgeUrl, apiKey: LOCAL_ADMIN_KEY }
  const options = { modelPath: EMBEDDED_MODEL, weights, contextTokens: undefined, cacheDir }
  const published = await publishBrowserModel(edge, options, { onProgress })
  for (const { tenant, name, model } of samples) {
    if (stamps.isOut(model)) continue
    const init = { method: 'PATCH', body: JSON.stringify({ may_leave: true }) }
    await callEdge(edge, `/admin/v1/tenants/${tenant}/adapters/${name}`, init)
    stamps.setOut(model)
  }
  return published
}
