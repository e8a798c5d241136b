import { expect, test } from 'vitest'
import { keepOnly } from '../../../gpu-backend/grammar/token-mask.ts'
import fc from '../../support/properties.ts'

test('a mask keeps the tokens whose bits it has, and none that it does not know', () => {
  const word = fc.oneof(fc.constantFrom(0, 0xffffffff), fc.nat({ max: 0xffffffff }))
  const mask = fc.array(word, { minLength: 1, maxLength: 5 })
  fc.assert(
    fc.property(mask, fc.nat(200), (words, size) => {
      const logits = Float32Array.from({ length: size }, (_, id) => id)
      keepOnly(logits, Uint32Array.from(words))
      const allowed = (id: number) => id < 32 * words.length && Math.floor(words[id >> 5]! / 2 ** (id & 31)) % 2 === 1
      expect([...logits]).toEqual(
        Array.from({ length: size }, (_, id) => (allowed(id) ? id : Number.NEGATIVE_INFINITY)),
      )
    }),
  )
})
