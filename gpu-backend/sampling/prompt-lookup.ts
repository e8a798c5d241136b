// What a text may go on with, found in the text itself or in what came before it: prompt lookup decoding (Saxena, 2023; vLLM's
// "ngram" speculation). Answers repeat their prompts, themselves and each other. Pure; whether the tokens are right is for the
// model to say.

/** Of the newest tokens, so many must stand elsewhere as well. */
const SHORTEST_MATCH = 2
/** More of them that do say nothing more. */
export const LONGEST_MATCH = 6

export interface Found {
  readonly tokens: readonly number[]
  /** How many of the newest tokens stand before these. */
  readonly matched: number
}

/**
 * The `count` tokens that followed where most of the newest tokens of `prompt` and `output` last stood together; undefined where
 * no two ever did. Where the text ends before there are so many, what was found goes on from its own beginning.
 */
export function lookUp(prompt: Int32Array, output: readonly number[], count: number): Found | undefined {
  const length = prompt.length + output.length
  const at = (index: number) => (index < prompt.length ? prompt[index]! : output[index - prompt.length]!)
  let [found, matched] = [-1, SHORTEST_MATCH - 1]
  for (let end = length - 2; end >= 0 && matched < LONGEST_MATCH; end--) {
    let match = 0
    while (match < LONGEST_MATCH && match <= end && at(end - match) === at(length - 1 - match)) match++
    if (match > matched) [found, matched] = [end + 1, match]
  }
  if (found === -1) return undefined
  const tokens: number[] = []
  for (let i = 0; i < count; i++) tokens.push(found + i < length ? at(found + i) : tokens[found + i - length]!)
  return { tokens, matched }
}
