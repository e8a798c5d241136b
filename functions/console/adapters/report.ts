// A publishing report as sentences.
import type { ReadableReport } from '../../client/stored-report.ts'
import { bytes } from '../ui/format.ts'

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
export function describeReport(report: ReadableReport): string[] {
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
