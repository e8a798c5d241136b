import { readdirSync, truncateSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { identify } from '../../../gpu-backend/model/identify.ts'
import { openModelSource } from '../../../gpu-backend/model/open-model.ts'
import { temporaryDir } from '../../support/temporary-dir.ts'
import { writeTinyModel } from '../../support/tiny-model.ts'

const root = temporaryDir()

test('a hash that was cut short as it was written down does not make the model another one', async () => {
  const source = await openModelSource(writeTinyModel(join(root, 'tiny')))
  const { fingerprint } = await identify(source, 'tiny', root)
  const hashes = join(root, 'hashes')
  for (const name of readdirSync(hashes)) truncateSync(join(hashes, name), 0)
  expect((await identify(source, 'tiny', root)).fingerprint).toBe(fingerprint)
  for (const name of readdirSync(hashes)) truncateSync(join(hashes, name), 10)
  expect((await identify(source, 'tiny', root)).fingerprint).toBe(fingerprint)
})
