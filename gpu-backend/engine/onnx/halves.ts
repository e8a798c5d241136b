// When a batch is computed in halves, each by a thread of its own. Pure.
import { type ModelDimensions, projectionGroups, weightsOf } from '../../model/projection-groups.ts'

/**
 * In halves the weights are read twice, and operators that one thread computes alone take half of the time: of those there are as
 * many as layers, each over rows of the hidden size. Of so many weights the one takes as long as the other of one value
 * (gpu-backend/README.md).
 */
const WEIGHTS_A_VALUE = 330
/** Halves of fewer rows were never worth it. */
const MIN_ROWS = 8

/** From how many rows on. */
export function rowsOfHalves(config: ModelDimensions): number {
  const weights = weightsOf(projectionGroups(config))
  return Math.max(MIN_ROWS, Math.ceil(weights / (config.layers * config.hiddenSize * WEIGHTS_A_VALUE)))
}
