import { describe, expect, test } from 'vitest'
import { fullMatcher } from '../../adapters/python-regex.ts'
import fc from '../support/properties.ts'

/** Patterns in the subset, by construction; Python and JavaScript agree on all of it. */
const pattern = fc.letrec<{ choice: string; sequence: string; atom: string }>((tie) => ({
  choice: fc.array(tie('sequence'), { minLength: 1, maxLength: 3 }).map((items) => items.join('|')),
  sequence: fc.array(tie('atom'), { maxLength: 4 }).map((items) => items.join('')),
  atom: fc
    .oneof(
      { maxDepth: 2, depthIdentifier: 'pattern' },
      fc.tuple(
        fc.constantFrom('a', 'b', '.', '\\.', '\\d', '\\w', '\\b', '[ab]', '[^a.]', '[0-9_]', '_', '1'),
        quantifier(),
      ),
      fc.tuple(
        tie('choice').map((inner) => `(?:${inner})`),
        quantifier(),
      ),
    )
    .map(([item, quantity]) => (item === '\\b' ? item : item + quantity)),
}))

function quantifier() {
  return fc.constantFrom('', '', '', '*', '+', '?', '{2}', '{1,3}', '{1,}', '*?', '+?')
}

describe('the linear-time matcher', () => {
  test('agrees with JavaScript on patterns of its subset', () => {
    const text = fc.string({ unit: fc.constantFrom('a', 'b', '.', '1', '_'), maxLength: 8 })
    fc.assert(
      fc.property(pattern.choice, fc.array(text, { minLength: 5, maxLength: 5 }), (source, texts) => {
        const matches = fullMatcher(source, 'test')
        const reference = new RegExp(`^(?:${source})$`)
        for (const candidate of texts)
          expect({ source, candidate, hit: matches(candidate) }).toEqual({
            source,
            candidate,
            hit: reference.test(candidate),
          })
      }),
      { seed: 5, numRuns: 1000 },
    )
  })

  test('answers at once where backtracking would take for ever', () => {
    expect(fullMatcher('(a+)+b', 'test')('a'.repeat(5000))).toBe(false)
    expect(fullMatcher('(?:a?){60}a{60}', 'test')('a'.repeat(60))).toBe(true)
  })

  test.each([
    ['(?=a)b', /look-around/],
    ['(a)\\1', /escape/],
    ['(a', /unclosed \(/],
    ['a)', /unmatched \)/],
    ['[a', /unclosed \[/],
    ['*a', /nothing for \*/],
    // In Python the first four are possessive and match nothing of what they would otherwise; the last is none of its patterns.
    ['a*+a', /quantifier after another/],
    ['a++a', /quantifier after another/],
    ['a?+a', /quantifier after another/],
    ['a{2}+a', /quantifier after another/],
    ['a**', /quantifier after another/],
    ['a{5000}', /huge repetition/],
    ['(?:(?:a{1000}){1000}){1000}', /too complex/],
    ['(?:(?:(?:){1000}){1000}){1000}', /too complex/],
    ['('.repeat(200) + ')'.repeat(200), /nested/],
    ['a'.repeat(30_000), /30000 characters/],
  ])('refuses %s', (source, message) => {
    expect(() => fullMatcher(source, 'test')).toThrow(message)
  })
})
