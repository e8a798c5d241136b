// Opens a base model as the backend would, and says what it is. Knows nothing of where it came from.
import { type BaseModel, targetModules } from '../../adapters/base-model.ts'
import { identify } from '../../gpu-backend/model/identify.ts'
import type { ModelConfig } from '../../gpu-backend/model/model-config.ts'
import { openModelSource } from '../../gpu-backend/model/open-model.ts'
import { Tokenizer } from '../../gpu-backend/model/tokenizer.ts'

export interface ModelDescription {
  readonly architecture: string
  readonly parameters: number
  readonly contextTokens: number
  readonly fingerprint: string
  readonly hasChatTemplate: boolean
}

/**
 * Reads the model's configuration, tokenizer and weights' headers, and hashes its weights.
 * @param cacheDir where the backend keeps the hashes of files, so that its first start finds them
 * @throws StartupError naming what is missing, damaged or not supported
 */
export async function describeModel(path: string, name: string, cacheDir: string): Promise<ModelDescription> {
  const source = await openModelSource(path)
  new Tokenizer(source.tokenizer)
  const weights = await source.openWeights()
  await weights.close()
  const base = await identify(source, name, cacheDir)
  return {
    architecture: base.architecture,
    parameters: countParameters(base, source.config),
    contextTokens: source.config.maxPositions,
    fingerprint: base.fingerprint,
    hasChatTemplate: source.tokenizer.chatTemplate !== undefined,
  }
}

/** Values of all the matrices; norms and biases are less than a thousandth of them. */
function countParameters(base: BaseModel, config: ModelConfig): number {
  let count = 0
  for (const [name, { in: columns, out }] of targetModules(base)) {
    if (name !== 'lm_head' || !config.tiedEmbeddings) count += columns * out
  }
  return count
}
