// A page converts what is dropped on it: the package must bundle for a browser and run where nothing of Node is.
import { runInNewContext } from 'node:vm'
import { build } from 'esbuild'
import { expect, test } from 'vitest'
import { importAdapter } from '../../adapters/import-adapter.ts'
import { verifyAdapter } from '../../adapters/verify.ts'
import { directoryFiles } from '../support/directory-files.ts'
import { FORMATS, tinyBase } from '../support/tiny-base.ts'

const ENTRY = `
  export { encodeDelta } from './canonical.ts'
  export { loadDelta } from './delta-source.ts'
  export { digestOf } from './digest.ts'
  export { fileSet, memoryFile } from './file-set.ts'
  export { importAdapter } from './import-adapter.ts'
  export { shrinkRank } from './shrink-rank.ts'
  export { verifyAdapter } from './verify.ts'
`
const ADAPTERS = new URL('../../adapters/', import.meta.url).pathname
/** Of what a browser has beside JavaScript itself, all that adapters/ may use. */
const BROWSER = { TextDecoder, TextEncoder, crypto }

test('adapters/ runs with nothing of Node: every format is read and checked as it is here', async () => {
  const stdin = { contents: ENTRY, resolveDir: ADAPTERS, loader: 'ts' as const }
  const { outputFiles } = await build({
    stdin,
    bundle: true,
    write: false,
    platform: 'browser',
    format: 'iife',
    globalName: 'adapters',
    target: 'esnext',
  })
  const bundled = runInNewContext(`${outputFiles[0]!.text}; adapters`, { ...BROWSER })
  const base = tinyBase('gqa')
  const limits = { maxRank: 64, maxBytes: 1e6 }
  for (const format of ['peft-plain', 'peft-bin', 'loralib-linear', 'mistral-finetune', 'gguf-q8_0', 'mlx']) {
    const files = directoryFiles(`${FORMATS}/${format}`)
    const here = await verifyAdapter(await importAdapter(files, { base }), base, 'f32', limits)
    const source = await bundled.importAdapter(files, { base })
    const there = await bundled.verifyAdapter(source, base, 'f32', limits)
    expect(JSON.parse(JSON.stringify(there))).toEqual(JSON.parse(JSON.stringify(here)))
    const delta = bundled.encodeDelta(await bundled.loadDelta(source), base)
    expect(await bundled.digestOf(delta)).toMatch(/^sha256:[0-9a-f]{64}$/)
  }
  await expect(bundled.importAdapter(new Map(), { base })).rejects.toMatchObject({ name: 'AdapterError' })
})
