// The README's map against the repository, and every folder's README against its three promises.
import { execFile, execFileSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
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

test('no page has a key on the command line that npm run would repeat on its output', () => {
  const pages = execFileSync('git', ['ls-files', '*.md'], { cwd: ROOT, encoding: 'utf8' }).trim().split('\n')
  const lines = pages.flatMap((page) => read(page).split('\n'))
  expect(lines.filter((line) => /npm run .*--(?:admin|api)-key/.test(line))).toEqual([])
  expect(lines.some((line) => line.includes('npx polylora '))).toBe(true)
})

test('npx polylora, as the pages have it, writes nothing but its answer, from any folder of the checkout', async () => {
  const cwd = join(ROOT, 'test/golden/formats')
  const { stdout } = await promisify(execFile)('npx', ['polylora', 'inspect', './peft-plain', '--json'], { cwd })
  expect(JSON.parse(stdout)).toMatchObject({ sourceFormat: 'peft' })
})

test.each(['Dockerfile', 'Dockerfile.vllm', 'compose.vllm.yaml'])(
  '%s lets this machine alone reach the backend, which speaks plain HTTP',
  (file) => {
    const published = [...read(`gpu-backend/${file}`).matchAll(/(?:-p |ports: \[')([\d.:]+)/g)].map(([, port]) => port)
    expect(published).toEqual(['127.0.0.1:8788:8788'])
  },
)
