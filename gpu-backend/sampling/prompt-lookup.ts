// What a text may go on with, found in the text itself or in what came before it: prompt lookup decoding (Saxena, 2023; vLLM's
// "ngram" speculation). Answers repeat their prompts, themselves and each other. Pure; whether the tokens are right is for the
// model to say.

/** Of the newest tokens, so many must stand elsewhere as well; where as many as `LONGEST_MATCH` do, those count first. */
const SHORTEST_MATCH = 2
export const LONGEST_MATCH = 3

/**
 * The `count` tokens that followed when the newest tokens of `prompt` and `output` last stood together; undefined where they
 * never did. Where the text ends before there are so many, what was found goes on from its own beginning.
 */
export function lookUp(prompt: Int32Array, output: readonly number[], count: number): number[] | undefined {
  const length = prompt.length + output.length
  const at = (index: number) => (index < prompt.length ? prompt[index]! : output[index - prompt.length]!)
  let [found, longest] = [-1, SHORTEST_MATCH - 1]
  for (let end = length - 2; end >= 0 && longest < LONGEST_MATCH; end--) {
    let match = 0
    while (match < LONGEST_MATCH && match <= end && at(end - match) === at(length - 1 - match)) match++
    if (match > longest) [found, longest] = [end + 1, match]
  }
  if (found === -1) return undefined
  const draft: number[] = []
  for (let i = 0; i < count; i++) draft.push(found + i < length ? at(found + i) : draft[found + i - length]!)
  return draft
}
