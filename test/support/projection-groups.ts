// The projections of a base model that is known by its description alone, in the engine's order.
import type { BaseModel } from '../../adapters/base-model.ts'
import { parseModelConfig } from '../../gpu-backend/model/model-config.ts'
import { type ProjectionGroup, projectionGroups } from '../../gpu-backend/model/projection-groups.ts'

export function projectionGroupsOf(base: BaseModel): ProjectionGroup[] {
  const config = {
    model_type: 'llama',
    vocab_size: base.vocab_size,
    hidden_size: base.hidden_size,
    num_hidden_layers: base.layers,
    num_attention_heads: base.heads,
    num_key_value_heads: base.kv_heads,
    intermediate_size: base.intermediate_size,
    max_position_embeddings: 128,
  }
  // The formats' tiny models have smaller heads than the engine runs; the groups' sizes do not depend on that.
  const parsed = parseModelConfig({ ...config, head_dim: 16 }, 'config.json')
  return projectionGroups({ ...parsed, headDim: base.head_dim })
}
