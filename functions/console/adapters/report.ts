// A publishing report as sentences. What is stored with a version came from whoever published it, so it is parsed.
import * as z from 'zod/mini'
import { bytes } from '../ui/format.ts'

export const Report = z.object({
  sourceFormat: z.string(),
  baseName: z.string(),
  dtype: z.string(),
  bytes: z.number(),
  rank: z.number(),
  modules: z.array(z.string()),
  moduleCount: z.number(),
  scales: z.array(z.number()),
  layers: z.array(z.object({ layer: z.string(), norm: z.number() })),
  hasChatTemplate: z.boolean(),
  notices: z.array(z.string()),
  probe: z.optional(z.object({ difference: z.number() })),
})
export type Report = z.infer<typeof Report>

const PROJECTS: Record<string, string> = {
  peft: 'Hugging Face PEFT',
  'alpaca-lora': 'alpaca-lora',
  loralib: 'microsoft/LoRA',
  'mistral-finetune': 'mistral-finetune',
  gguf: 'llama.cpp',
  mlx: 'Apple’s mlx_lm',
}

export function projectName(sourceFormat: string): string {
  return PROJECTS[sourceFormat] ?? sourceFormat
}

/** What was found, in plain words. */
export function describeReport(report: Report): string[] {
  const scales = report.scales.map((scale) => Number(scale.toPrecision(6))).join(', ')
  return [
    `An adapter that ${projectName(report.sourceFormat)} saved, for ${report.baseName}.`,
    `It changes ${report.moduleCount} modules (${report.modules.join(', ')}) with rank ${report.rank}; ${
      report.scales.length > 1 ? `the scales ${scales} were` : `its scale ${scales} was`
    } folded in.`,
    `Every value is finite, and together they make a file of ${bytes(report.bytes)} in ${report.dtype}.`,
    report.probe
      ? `It acts: on a test prompt, log probabilities move by up to ${report.probe.difference.toPrecision(3)} against the base model.`
      : 'Its effect was not tried on the backend.',
    ...(report.hasChatTemplate ? ['It brings a chat template of its own.'] : []),
  ]
}
