import { describe, expect, test } from 'vitest'
import { StopMatcher } from '../../../gpu-backend/sampling/stop.ts'
import fc from '../../support/properties.ts'

/** Everything shown for text that arrives in these pieces. */
function shown(stops: readonly string[], pieces: readonly string[]): { text: string; stopped: boolean } {
  const matcher = new StopMatcher(stops)
  let text = ''
  for (const piece of pieces) {
    const result = matcher.push(piece)
    text += result.text
    if (result.stopped) return { text, stopped: true }
  }
  return { text: text + matcher.flush(), stopped: false }
}

describe('stop strings', () => {
  test('are found across pieces, and nothing of them is shown', () => {
    expect(shown(['END'], ['one E', 'N', 'D two'])).toEqual({ text: 'one ', stopped: true })
  })

  test('that begin and do not come are shown late but whole', () => {
    const matcher = new StopMatcher(['END'])
    expect(matcher.push('the E')).toEqual({ text: 'the ', stopped: false })
    expect(matcher.push('N')).toEqual({ text: '', stopped: false })
    expect(matcher.push('EN')).toEqual({ text: 'EN', stopped: false })
    expect(matcher.flush()).toBe('EN')
    expect(matcher.flush()).toBe('')
  })

  test('end the text at the first of several, whichever is listed first', () => {
    expect(shown(['later', 'soon'], ['so', 'on and later'])).toEqual({ text: '', stopped: true })
  })

  test('may overlap themselves', () => {
    expect(shown(['aab'], ['a', 'a', 'a', 'b'])).toEqual({ text: 'a', stopped: true })
  })

  test('that nobody gave hold nothing back', () => {
    expect(new StopMatcher([]).push('abc')).toEqual({ text: 'abc', stopped: false })
  })

  test('never leak a character and never eat one, however the text is cut', () => {
    const letters = fc.string({ unit: fc.constantFrom('a', 'b', 'é'), minLength: 1, maxLength: 3 })
    fc.assert(
      fc.property(fc.array(letters, { maxLength: 12 }), fc.array(letters, { maxLength: 3 }), (pieces, stops) => {
        const whole = pieces.join('')
        const result = shown(stops, pieces)
        expect(result.stopped).toBe(stops.some((stop) => whole.includes(stop)))
        for (const stop of stops) expect(result.text).not.toContain(stop)
        expect(whole.startsWith(result.text)).toBe(true)
        if (!result.stopped) expect(result.text).toBe(whole)
        else expect(stops.some((stop) => whole.startsWith(stop, result.text.length))).toBe(true)
      }),
      { numRuns: 1000 },
    )
  })
})
