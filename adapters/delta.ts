// The canonical delta in memory: the change that an adapter makes to a base model, W + B·A per module.
// Invariant: the scale (alpha/r and its relatives) is already folded into B; nothing downstream multiplies again.

/** One module's low-rank change. For `model.embed_tokens`, `in` is the vocabulary and the change is (B·A)ᵀ, as in PEFT. */
export interface DeltaModule {
  readonly rank: number
  readonly in: number
  readonly out: number
  /** A: [rank, in] row-major, f32 or f16 */
  readonly a: Float32Array | Float16Array
  /** B: [out, rank] row-major, f32 or f16, scale folded in */
  readonly b: Float32Array | Float16Array
}

/** What a delta's values are stored as. */
export type DeltaDtype = 'f16' | 'f32'

/**
 * Begins a chat template that writes no special tokens: the tokenizer adds what it adds to every text, as it did where a
 * training script gave it the prompt's text.
 */
export const PLAIN_PROMPT = '{#- plain prompt -#}'

/** What travels in the file's header beside the tensors. */
export interface DeltaMetadata {
  /** Fingerprint of the base model that it was published for. */
  readonly base: string
  /** `peft`, `loralib`, `alpaca-lora`, `mistral-finetune`, `gguf`, ... */
  readonly sourceFormat: string
  /** A Jinja chat template that replaces the base model's, where the adapter was trained with its own prompt form. */
  readonly chatTemplate?: string
}

export interface Delta {
  readonly metadata: DeltaMetadata
  /** By Hugging Face module path (see `targetModules`). */
  readonly modules: ReadonlyMap<string, DeltaModule>
}
