// What the publisher knows beside the files: the base model, and facts that some formats do not store.
// Knows no format. Invariant: a value given here is used only where the files lack it.
import type { BaseModel } from './base-model.ts'

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
