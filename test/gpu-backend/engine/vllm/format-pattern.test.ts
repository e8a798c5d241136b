import { expect, test } from 'vitest'
import { formatPattern } from '../../../../gpu-backend/engine/vllm/format-pattern.ts'

test.each<[string, readonly string[], readonly string[]]>([
  [
    'date',
    ['2024-02-29', '2000-02-29', '1999-12-31', '2023-04-30'],
    ['2023-02-29', '1900-02-29', '2023-04-31', '0585-04-30', '2023-13-01', 'x2023-04-30'],
  ],
  [
    'time',
    ['00:00:00Z', '23:59:59.123456+23:59'],
    ['24:00:00Z', '08:03:60+23:00', '08:03:0012Z', '08:03:00', '08:03:00.Z'],
  ],
  ['date-time', ['2024-02-29T00:00:00Z'], ['2024-02-30T00:00:00Z', '2024-02-29 00:00:00Z']],
  [
    'email',
    ['a@b.c', 'a@b-1.example.com', 'a.b+c@d.ef'],
    ['a@b', '.a@b.c', 'a..b@b.c', 'a.@b.c', 'a@b.c1', '{a@b.c', 'a@-b.c'],
  ],
  ['ipv4', ['0.0.0.0', '255.249.199.99', '10.0.0.1'], ['256.0.0.1', '025.0.0.1', '1.2.3', '1.2.3.4.5']],
  [
    'ipv6',
    ['a:B:0:1:ffff:09aF:7:8', '::', '::1', '1::', '1::8', 'a:b:c:d:e:f:1::', '::1:2:3:4:5:6:7', '1:2::4:5:6:7:8'],
    ['1:2:3:4:5:6:7:8:9', '1:2:3', '1::2::3', '12345::', '::1:2:3:4:5:6:7:8', ':1', '1:', '::1.2.3.4'],
  ],
])('%s', (format, of, not) => {
  const pattern = new RegExp(formatPattern(format)!, 'u')
  for (const text of of) expect(text).toMatch(pattern)
  for (const text of not) expect(text).not.toMatch(pattern)
})

test.each(['duration', 'hostname', 'uuid', undefined])('%s is left to xgrammar', (format) => {
  expect(formatPattern(format)).toBeUndefined()
})
