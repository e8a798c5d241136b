// The README's map against the repository, and every folder's README against its three promises.
import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'

const ROOT = join(import.meta.dirname, '..')
const FOLDERS = ['adapters', 'functions', 'gpu-backend', 'scripts', 'test']
const TOP_LEVEL = [...FOLDERS, 'package.json', 'wrangler.toml', 'README.md']
/** Configuration of tools, which lies beside them as the dotfiles and the lock file do. */
const TOOLS = ['biome.json', 'package-lock.json', 'tsconfig.json', 'vitest.config.ts']

const read = (path: string) => readFileSync(join(ROOT, path), 'utf8')

test('the map in the README names everything at the top level, and only that', () => {
  const map = /## ARCHITECTURE\n\n```\n([\s\S]*?)```/.exec(read('README.md'))?.[1] ?? ''
  const named = map.split('\n').flatMap((line) => /^(\S+?)\/? /.exec(line)?.[1] ?? [])
  expect(named.sort()).toEqual(TOP_LEVEL.toSorted())
  const tracked = execFileSync('git', ['ls-files'], { cwd: ROOT, encoding: 'utf8', maxBuffer: 64 << 20 })
  const top = new Set(tracked.split('\n').flatMap((path) => (path && !path.startsWith('.') ? path.split('/')[0]! : [])))
  expect([...top].filter((name) => !TOP_LEVEL.includes(name) && !TOOLS.includes(name))).toEqual([])
})

test.each(FOLDERS)('%s says what lives there, what it may import and where to start reading', (folder) => {
  const text = read(`${folder}/README.md`)
  for (const promise of ['**Lives here:**', '**May import:**', '**Start reading at:**']) expect(text).toContain(promise)
})

test.each(FOLDERS)('the files that %s/README.md maps are there', (folder) => {
  const maps = [...read(`${folder}/README.md`).matchAll(/```\n([\s\S]*?)```/g)].map(([, map]) =>
    map!.replaceAll(/\/[\w.-]+\.json/g, ''),
  )
  const names = maps.flatMap((map) => map.match(/(?<![\w./-])[\w-]+(?:\/|\.(?:ts|py))(?=[\s:,;]|$)/gm) ?? [])
  const tracked = execFileSync('git', ['ls-files', folder], { cwd: ROOT, encoding: 'utf8', maxBuffer: 64 << 20 })
  const missing = names.filter((name) => {
    if (existsSync(join(ROOT, folder, name))) return false
    return !new RegExp(`(^|/)${name.replaceAll('.', '\\.')}`, 'm').test(tracked)
  })
  expect(missing).toEqual([])
})
