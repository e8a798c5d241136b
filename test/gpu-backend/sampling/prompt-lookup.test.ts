import { describe, expect, test } from 'vitest'
import { lookUp } from '../../../gpu-backend/sampling/prompt-lookup.ts'
import fc from '../../support/properties.ts'

const found = (prompt: number[], output: number[], count = 3) => lookUp(Int32Array.from(prompt), output, count)?.tokens

describe('what a text may go on with', () => {
  test.each<[string, number[], number[], number[] | undefined]>([
    ['what followed in the prompt', [1, 2, 3, 4, 5, 9], [1, 2], [3, 4, 5]],
    ['what followed in the answer', [9], [1, 2, 3, 4, 5, 7, 1, 2], [3, 4, 5]],
    ['what followed where prompt and answer meet', [8, 1], [2, 3, 4, 5, 1, 2], [3, 4, 5]],
    ['what followed last', [1, 2, 3, 3, 3, 1, 2, 4, 4, 4], [1, 2], [4, 4, 4]],
    ['what followed three tokens rather than two', [7, 1, 2, 3, 3, 3, 8, 1, 2, 4, 4, 4], [7, 1, 2], [3, 3, 3]],
    [
      'what followed six tokens rather than five',
      [1, 2, 3, 4, 5, 6, 7, 7, 9, 2, 3, 4, 5, 6, 8, 8],
      [1, 2, 3, 4, 5, 6],
      [7, 7, 9],
    ],
    ['the same again, where the text repeats itself', [], [5, 6, 5, 6], [5, 6, 5]],
    ['one token for ever', [], [4, 4, 4], [4, 4, 4]],
    ['nothing that one token alone would say', [1, 2, 3], [9, 1], undefined],
    ['nothing of a text of its own', [1, 2, 3], [4, 5, 6], undefined],
    ['nothing of too short a text', [1], [2], undefined],
    ['nothing of no text', [], [], undefined],
  ])('is %s', (_, prompt, output, expected) => {
    expect(found(prompt, output)).toEqual(expected)
  })

  test('says how many of the newest tokens stand before it, six at most', () => {
    const matched = (output: number[]) => lookUp(Int32Array.of(), output, 3)?.matched
    expect(matched([1, 2, 3, 9, 2, 3])).toBe(2)
    expect(matched([1, 2, 3, 9, 1, 2, 3])).toBe(3)
    expect(matched([4, 4, 4, 4, 4, 4, 4, 4, 4])).toBe(6)
  })

  test('is as many tokens as are asked for, and has followed the newest two before', () => {
    const tokens = fc.array(fc.nat({ max: 3 }), { maxLength: 30 })
    fc.assert(
      fc.property(tokens, tokens, fc.integer({ min: 1, max: 6 }), (prompt, output, count) => {
        const draft = found(prompt, output, count)
        const text = [...prompt, ...output]
        const newest = text.slice(-2)
        const places = [...text.keys()].filter((i) => i > 1 && text[i - 2] === newest[0] && text[i - 1] === newest[1])
        if (places.length === 0) {
          expect(draft).toBeUndefined()
          return
        }
        expect(draft).toHaveLength(count)
        // As it goes on, so does the text with what was found at its end.
        const whole = [...text, ...draft!]
        expect(places.some((place) => draft!.every((token, i) => whole[place + i] === token))).toBe(true)
      }),
    )
  })
})
