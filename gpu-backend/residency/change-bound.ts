// How much a delta can change a module, and the most that is taken. Pure.
// Why there is a limit: numbers that overflow stay in the KV cache after their request, and vLLM's attention on CPUs (0.32)
// multiplies what a block holds beyond a sequence's end by zero, which leaves no number: the next customers' answers would
// fail. And the onnx engine rounds inputs to bytes with int8 weights, which makes some number of what is none: nobody would
// see that the answer is worthless. So a delta that could overflow is refused before it runs.
import type { Delta, DeltaModule } from '../../adapters/delta.ts'
import { BackendError } from '../errors.ts'

/**
 * Largest bound of a module's change. Trained adapters stay below a thousand. With every module at this limit the largest
 * numbers of a layer, products of two projections times a third, are about 1e22, far inside f32 and bf16.
 */
const MAX_CHANGE = 1e6

/** The product of the Frobenius norms of B and A: no input of length one is changed by more (the norm of B A). */
export function changeBound({ a, b }: DeltaModule): number {
  return Math.sqrt(sumOfSquares(a) * sumOfSquares(b))
}

/** @throws BackendError `invalid_delta` where a module's change could overflow */
export function checkChange({ modules }: Delta): void {
  for (const [path, module] of modules) {
    const bound = changeBound(module)
    if (bound <= MAX_CHANGE) continue
    throw new BackendError(
      'invalid_delta',
      `${path} changes the base by up to ${bound.toExponential(0)} times its input, which would overflow the model's numbers: train the adapter again, or with a smaller scale.`,
    )
  }
}

function sumOfSquares(values: DeltaModule['a']): number {
  let sum = 0
  for (let i = 0; i < values.length; i++) sum += values[i]! * values[i]!
  return sum
}
