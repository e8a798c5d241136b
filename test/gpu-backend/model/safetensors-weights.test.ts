import { copyFileSync, mkdirSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { StartupError } from '../../../gpu-backend/errors.ts'
import { openSafetensorsWeights, weightFiles } from '../../../gpu-backend/model/safetensors-weights.ts'
import { ARCHITECTURES } from '../../support/architecture-goldens.ts'
import { expectOneSentence } from '../../support/one-sentence.ts'
import { temporaryDir } from '../../support/temporary-dir.ts'

const temporary = temporaryDir()
const WEIGHTS = join(ARCHITECTURES, 'llama', 'model.safetensors')
let dirs = 0

/** A directory with safetensors files of these names, and an index where there is one. */
function directory(names: readonly string[], index?: unknown): string {
  const dir = join(temporary, String(dirs++))
  mkdirSync(dir)
  for (const name of names) copyFileSync(WEIGHTS, join(dir, name))
  if (index !== undefined) writeFileSync(join(dir, 'model.safetensors.index.json'), JSON.stringify(index))
  return dir
}

const names = (dir: string) => weightFiles(dir).map((path) => basename(path))
const map = (...files: string[]) => ({ weight_map: Object.fromEntries(files.map((file, i) => [`t${i}`, file])) })

function refusal(dir: string): string {
  try {
    weightFiles(dir)
  } catch (error) {
    const { message } = error as Error
    expectOneSentence(message)
    expect(message).toContain(dir)
    return message
  }
  throw new Error('was accepted')
}

describe('the weight files of a directory', () => {
  test('are the single file, whatever other copies lie beside it', () => {
    expect(names(directory(['consolidated.safetensors', 'model.safetensors', 'model.fp16.safetensors']))).toEqual([
      'model.safetensors',
    ])
  })

  test('are those of the index, each once and in order', () => {
    const shards = ['m-2.safetensors', 'm-1.safetensors']
    expect(names(directory([...shards, 'consolidated.safetensors'], map(...shards, 'm-1.safetensors')))).toEqual([
      'm-1.safetensors',
      'm-2.safetensors',
    ])
  })

  test('are all where there is neither', () => {
    expect(names(directory(['b.safetensors', 'a.safetensors']))).toEqual(['a.safetensors', 'b.safetensors'])
  })

  test('are refused where one is missing, the index is damaged, or there are none', () => {
    expect(refusal(directory(['m-1.safetensors'], map('m-1.safetensors', 'm-2.safetensors')))).toMatch(/"m-2\.safeten/)
    expect(refusal(directory(['m-1.safetensors'], map('../0/m-1.safetensors')))).toMatch(/names "\.\.\/0/)
    expect(refusal(directory(['m-1.safetensors'], { weight_map: [1] }))).toMatch(/no weight_map/)
    expect(refusal(directory([]))).toMatch(/no \.safetensors file/)
  })
})

test('a tensor that is missing or has another shape is refused by name', async () => {
  const weights = await openSafetensorsWeights(directory(['model.safetensors']))
  await expect(weights.load('model.norm.bias', [64])).rejects.toThrow(/no tensor "model\.norm\.bias"/)
  await expect(weights.load('model.norm.weight', [65])).rejects.toThrow(/"model\.norm\.weight" as \[64\].*\[65\]/)
  expect(await weights.load('model.norm.weight', [64])).toHaveLength(64)
  await weights.close()
})

test('a tensor of bytes, as of a model in FP8, is refused in a sentence that says where it is', async () => {
  const dir = directory([])
  const header = JSON.stringify({ 'model.norm.weight': { dtype: 'F8_E4M3', shape: [2], data_offsets: [0, 2] } })
  const length = Buffer.from(BigUint64Array.of(BigInt(header.length)).buffer)
  writeFileSync(join(dir, 'model.safetensors'), Buffer.concat([length, Buffer.from(header), Buffer.alloc(2)]))
  const weights = await openSafetensorsWeights(dir)
  const refused: unknown = await weights.load('model.norm.weight', [2]).catch((error: unknown) => error)
  await weights.close()
  expect(refused).toBeInstanceOf(StartupError)
  const { message } = refused as Error
  expectOneSentence(message)
  expect(message).toContain(dir)
})

test('a damaged shard is refused by its name', async () => {
  const dir = directory(['m-1.safetensors', 'm-2.safetensors'])
  writeFileSync(join(dir, 'm-2.safetensors'), 'cut')
  await expect(openSafetensorsWeights(dir)).rejects.toThrow(/m-2\.safetensors/)
})
