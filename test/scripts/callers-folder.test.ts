import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'
import { callersFolder } from '../../scripts/callers-folder.ts'
import { FORMATS } from '../support/tiny-base.ts'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))

test('a path on the command line is of the folder that npm was called in, not of the package’s own', async () => {
  const options = { cwd: FORMATS }
  const args = ['--prefix', ROOT, 'run', '--silent', 'polylora', '--', 'inspect', './peft-plain', '--json']
  const { stdout } = await promisify(execFile)('npm', args, options)
  expect(JSON.parse(stdout)).toMatchObject({ sourceFormat: 'peft' })
})

test('what is not run by npm under the script’s own name is where it is', () => {
  expect(callersFolder('bench', { npm_lifecycle_event: 'bench', INIT_CWD: '/there' })).toBe('/there')
  // Beneath `npm test`, say, or as npx runs it.
  for (const event of ['test', 'npx', undefined]) {
    expect(callersFolder('bench', { npm_lifecycle_event: event, INIT_CWD: '/there' })).toBe(process.cwd())
  }
})
