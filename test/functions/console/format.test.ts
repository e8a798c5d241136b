import { expect, test } from 'vitest'
import { price } from '../../../functions/console/ui/format.ts'

test.each([
  [0, '0'],
  [12_345_678_900_000, '12,345.68'],
  [-1_000_250_000_000, '-1,000.25'],
  [2_500_000_000, '2.5'],
  [1_234_567_000, '1.235'],
  [150, '0.00000015'],
  [12_345, '0.00001235'],
])('of money no hundredth is rounded away, and of small prices four digits stay: %i', (nano, shown) => {
  expect(price(nano)).toBe(shown)
})
