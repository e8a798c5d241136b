import { spawnSync } from 'node:child_process'
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { expect, test } from 'vitest'
import { graphPath } from '../../../../gpu-backend/engine/onnx/built-graph.ts'
import { openModelSource } from '../../../../gpu-backend/model/open-model.ts'
import { temporaryDir } from '../../../support/temporary-dir.ts'
import { writeTinyModel } from '../../../support/tiny-model.ts'

const root = temporaryDir()
const source = await openModelSource(writeTinyModel(join(root, 'model')))
const cacheDir = join(root, 'cache')
const build = () =>
  graphPath(source, `sha256:${'a'.repeat(64)}`, { format: 'f32', target: 'cpu', positions: 64 }, cacheDir)

const path = await build()
const whole = contents(dirname(path))

/** The files in `dir`. */
function contents(dir: string): Record<string, Buffer> {
  return Object.fromEntries(readdirSync(dir).map((name) => [name, readFileSync(join(dir, name))]))
}

test('a graph that is there is not built again', async () => {
  // Of the same size: nobody would see it but who builds the graph anew.
  const marked = Buffer.from(whole[basename(path)]!).fill('x')
  writeFileSync(path, marked)
  expect(await build()).toBe(path)
  expect(readFileSync(path)).toEqual(marked)
  writeFileSync(path, whole[basename(path)]!)
})

test.each([
  ['int8', 2],
  ['f32', 1],
] as const)('how much of a graph in %s is built is told layer by layer', async (format, passes) => {
  const told: number[] = []
  const options = { format, target: 'cpu', positions: 64 } as const
  const dir = join(root, `told-${format}`)
  await graphPath(source, `sha256:${'b'.repeat(64)}`, options, dir, (share) => told.push(share))
  const steps = passes * source.config.layers
  expect(told).toEqual(Array.from({ length: steps }, (_, i) => (i + 1) / steps))
})

test.each(Object.keys(whole))('a graph of which %s was lost, or a part of it, is built again', async (name) => {
  const file = join(dirname(path), name)
  for (const damage of [() => truncateSync(file, 10), () => truncateSync(file, 0), () => rmSync(file)]) {
    damage()
    expect(await build()).toBe(path)
    expect(contents(dirname(path))).toEqual(whole)
    expect(readdirSync(dirname(dirname(path)))).toEqual([basename(dirname(path))])
  }
})

test('what a process left that ended while it built a graph is removed, not what one builds that runs', async () => {
  const { pid: ended } = spawnSync(process.execPath, ['--version'])
  const [old, own] = [`${process.pid}-old.building`, `${process.pid}-own.building`]
  const ends = [`${ended}.building`, `${ended}-a1.observing`, old, `${process.ppid}-b2.building`, own]
  const folders = ends.map((end) => `${dirname(path)}.${end}`)
  for (const folder of folders) {
    mkdirSync(folder)
    writeFileSync(join(folder, 'weights.bin'), 'half')
  }
  // In containers other processes have this one's id.
  for (const name of ['', 'weights.bin']) utimesSync(join(folders[2]!, name), 1, 1)
  rmSync(dirname(path), { recursive: true })
  await build()
  expect(folders.filter((folder) => existsSync(folder))).toEqual([folders[3], folders[4]])
  for (const folder of folders) rmSync(folder, { recursive: true, force: true })
})

test('graphs of versions before are removed once one of this version is built', async () => {
  const before = dirname(path).replace(/-v\d+$/, '-v1')
  const other = dirname(path).replace('-64-', '-128-')
  for (const folder of [before, other]) mkdirSync(folder)
  rmSync(dirname(path), { recursive: true })
  await build()
  expect([before, other].map((folder) => existsSync(folder))).toEqual([false, true])
  rmSync(other, { recursive: true })
})
