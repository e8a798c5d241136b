// A publishing report as the edge keeps it with a version. It came from whoever published that, so it is parsed before it is shown.
import * as z from 'zod/mini'
import type { AdapterReport } from '../../adapters/verify.ts'
import type { ProbeReport } from './probe.ts'

export const StoredReport = z.object({
  sourceFormat: z.string(),
  base: z.string(),
  baseName: z.string(),
  dtype: z.enum(['f16', 'f32']),
  bytes: z.number(),
  rank: z.number(),
  modules: z.array(z.string()),
  moduleCount: z.number(),
  scales: z.array(z.number()),
  layers: z.array(z.object({ layer: z.string(), modules: z.array(z.string()), norm: z.number() })),
  hasChatTemplate: z.boolean(),
  notices: z.array(z.string()),
  probe: z.optional(z.object({ prompt: z.string(), difference: z.number() })),
}) satisfies z.ZodMiniType<ReadableReport>

/** What is said of a report for people to read; `probe` is there once a backend was asked. */
export type ReadableReport = AdapterReport & { readonly probe?: ProbeReport | undefined }
