// The tokens that a request names besides its prompt's. Pure.
import { BackendError } from '../errors.ts'
import type { SamplingParams } from '../protocol.ts'

/** @throws BackendError where one is beyond the `vocabSize` tokens of the base model: no engine could do what it asks for */
export function checkNamedTokens({ logit_bias = {}, stop_token_ids }: SamplingParams, vocabSize: number): void {
  const named = { logit_bias: Object.keys(logit_bias), stop_token_ids }
  for (const [param, ids] of Object.entries(named)) {
    const beyond = ids.find((id) => Number(id) >= vocabSize)
    if (beyond === undefined) continue
    throw new BackendError(
      'bad_request',
      `${param} names token ${beyond}, but this base model's tokens end with ${vocabSize - 1}: leave it out.`,
      { param },
    )
  }
}
