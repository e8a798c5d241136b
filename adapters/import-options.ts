// What the publisher knows beside the files: the base model, and facts that some formats do not store.
// Knows no format. Invariant: a value given here is used only where the files lack it; one that contradicts them is refused.
import type { BaseModel } from './base-model.ts'
import { AdapterError } from './errors.ts'

export interface ImportOptions {
  readonly base: BaseModel
  /** loralib: lora_alpha, which its files lack. */
  readonly alpha?: number
  /** loralib's MergedLinear: which parts of a fused projection have LoRA. */
  readonly enableLora?: readonly boolean[]
  /** mistral-finetune and MLX: the factor, where params.json or adapter_config.json is missing. */
  readonly scaling?: number
  /** Leaves out a chat template that lies beside the adapter. */
  readonly ignoreChatTemplate?: boolean
}

const FLAGS = { alpha: '--alpha', enableLora: '--enable-lora', scaling: '--scaling' } as const
export type Fact = keyof typeof FLAGS

/** Throws AdapterError `mismatch` where an option is given that is not among `used`: it would be ignored in silence. */
export function refuseOtherFacts(options: ImportOptions, used: readonly Fact[], file: string): void {
  for (const fact of Object.keys(FLAGS) as Fact[]) {
    if (options[fact] === undefined || used.includes(fact)) continue
    throw new AdapterError(
      'mismatch',
      `${FLAGS[fact]} is given, but ${file} is of a project whose files do not need it; leave it out.`,
    )
  }
}

/**
 * A factor that a file may hold and an option may give: a wrong one would be silent. Throws AdapterError `mismatch` where both
 * say different things.
 */
export function agreedFactor(
  inFile: { readonly value: number | undefined; readonly where: string },
  given: { readonly value: number | undefined; readonly option: string },
): number | undefined {
  if (inFile.value !== undefined && given.value !== undefined && inFile.value !== given.value) {
    throw new AdapterError(
      'mismatch',
      `${inFile.where} is ${inFile.value} but ${given.option} is ${given.value}; leave out the option, or correct the file.`,
    )
  }
  return inFile.value ?? given.value
}
