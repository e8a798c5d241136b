import { existsSync, mkdirSync, readdirSync, utimesSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { expect, test } from 'vitest'
import { removeOtherBases } from '../../../gpu-backend/residency/other-bases.ts'
import { temporaryDir } from '../../support/temporary-dir.ts'

const DAY_MS = 24 * 3_600_000
const NOW_MS = Date.now()
const root = temporaryDir()
const delta = (digit: string) => `${digit.repeat(64)}.delta`

function put(path: string, days: number): void {
  mkdirSync(dirname(join(root, path)), { recursive: true })
  writeFileSync(join(root, path), '12345')
  const usedS = (NOW_MS - days * DAY_MS) / 1000
  utimesSync(join(root, path), usedS, usedS)
}

const [OWN, OTHER, SHARED] = ['0', 'a', 'b'].map((digit) => digit.repeat(16)) as [string, string, string]

test('deltas of other bases that nobody has used for a week are removed, and nothing else', () => {
  for (const folder of [OWN, 'theirs']) put(`${folder}/${delta('1')}`, 100)
  put(delta('1'), 100)
  put(`${OTHER}/${delta('1')}`, 8)
  put(`${OTHER}/${delta('2')}`, 6)
  put(`${OTHER}/${delta('3')}.1.a.writing`, 8)
  put(`${SHARED}/${delta('1')}`, 8)
  put(`${SHARED}/notes.txt`, 8)
  expect(removeOtherBases(root, OWN, NOW_MS)).toBe(15)
  const left = Object.fromEntries(
    [OWN, 'theirs', OTHER, SHARED].map((folder) => [folder, readdirSync(join(root, folder))]),
  )
  expect(left).toEqual({ [OWN]: [delta('1')], theirs: [delta('1')], [OTHER]: [delta('2')], [SHARED]: ['notes.txt'] })
  expect(existsSync(join(root, delta('1')))).toBe(true)
  expect(removeOtherBases(root, OWN, NOW_MS)).toBe(0)
})
