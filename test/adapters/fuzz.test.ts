// Every reader against damaged files: it either reads them or refuses them with an AdapterError, and its memory is bounded
// by the file's size. A failure names the seed that gives the same file again.
import { describe, expect, test } from 'vitest'
import { decodeDelta, encodeDelta } from '../../adapters/canonical.ts'
import { loadDelta } from '../../adapters/delta-source.ts'
import { AdapterError } from '../../adapters/errors.ts'
import { type AdapterFile, type FileSet, fileSet, memoryFile } from '../../adapters/file-set.ts'
import { findPromptForm } from '../../adapters/formats/chat-template.ts'
import { importAdapter } from '../../adapters/import-adapter.ts'
import { fullMatcher } from '../../adapters/python-regex.ts'
import { parseHeader } from '../../adapters/safetensors.ts'
import { verifyAdapter } from '../../adapters/verify.ts'
import { directoryFiles } from '../support/directory-files.ts'
import { mutate } from '../support/mutate.ts'
import { peftFiles, peftTensors } from '../support/peft-files.ts'
import { seededRandom } from '../support/seeded-random.ts'
import { FORMATS, tinyBase } from '../support/tiny-base.ts'

const FILES_PER_READER = 10_000
const base = tinyBase('gqa')
const LIMITS = { maxRank: 64, maxBytes: 1e6 }

/** f64 and bf16 become f32, Q8_0 grows fourfold; strided tensors are gathered into a second copy. */
const VALUES_PER_BYTE = 4
/** Headers are read again while they grow, directories once more for each member. */
const READS_PER_BYTE = 12

interface Counts {
  accepted: number
  refused: number
}

/** Reads a set as publishing does. Throws on anything but success or an AdapterError. */
async function attempt(files: FileSet, counts: Counts): Promise<void> {
  let bytesRead = 0
  let size = 0
  const counted = fileSet(
    Array.from(files.values(), (file): AdapterFile => {
      size += file.size
      const read = (start: number, end: number) => {
        if (!(start >= 0 && start <= end && end <= file.size)) throw new Error(`read ${start}..${end} of ${file.size}`)
        bytesRead += end - start
        return file.read(start, end)
      }
      return { name: file.name, size: file.size, read }
    }),
  )
  try {
    const source = await importAdapter(counted, { base })
    expect(bytesRead).toBeLessThan(READS_PER_BYTE * (size + 100_000))
    await verifyAdapter(source, base, 'f32', LIMITS)
    for (const module of source.modules.values()) {
      const { a, b } = await module.load()
      expect(a.length + b.length).toBeLessThanOrEqual(VALUES_PER_BYTE * size)
    }
    counts.accepted++
  } catch (error) {
    if (!(error instanceof AdapterError)) throw error
    expect(error.message.length).toBeLessThan(2000)
    counts.refused++
  }
}

/** A reader's own file and how much of its start is structure. */
const READERS: readonly [reader: string, folder: string, file: string, headerBytes: number][] = [
  ['PEFT safetensors', 'peft-attention-only', 'adapter_model.safetensors', 1000],
  ['PEFT configuration', 'peft-patterns', 'adapter_config.json', 2000],
  ['torch ZIP and pickle', 'peft-bin', 'adapter_model.bin', 3000],
  ['torch before ZIP', 'loralib-legacy-zipless', 'adapter.pt', 4000],
  ['loralib', 'loralib-embedding', 'adapter.pt', 2000],
  ['mistral-finetune', 'mistral-finetune', 'lora.safetensors', 3000],
  ['GGUF', 'gguf-q8_0', 'adapter.gguf', 2500],
  ['MLX', 'mlx-embeddings', 'adapters.safetensors', 1500],
  ['mistral-finetune parameters', 'mistral-finetune', 'params.json', 400],
  ['MLX configuration', 'mlx-embeddings', 'adapter_config.json', 400],
  ['loralib side file', 'loralib-embedding', 'lora.json', 100],
]

describe.each(READERS)('%s', (reader, folder, file, headerBytes) => {
  test(`${FILES_PER_READER} damaged files are read or refused, never more`, async () => {
    const files = directoryFiles(`${FORMATS}/${folder}`)
    const original = files.get(file)!
    const bytes = await original.read(0, original.size)
    const counts = { accepted: 0, refused: 0 }
    for (let seed = 0; seed < FILES_PER_READER; seed++) {
      const damaged = memoryFile(file, mutate(bytes, seededRandom(seed), headerBytes))
      try {
        await attempt(fileSet([...files.values(), damaged]), counts)
      } catch (error) {
        throw new Error(`${reader}, seed ${seed}: ${String(error)}`, { cause: error })
      }
    }
    // Both ends are reached: the damage is neither always fatal nor always harmless.
    expect(counts.refused).toBeGreaterThan(FILES_PER_READER / 20)
    expect(counts.accepted).toBeGreaterThan(FILES_PER_READER / 200)
  })
})

const SENTENCE = 'Below is an instruction.\n\n### Instruction:\n{instruction}\n\n### Response:\n'
const TEMPLATES: readonly [name: string, json: object][] = [
  [
    'alpaca.json',
    { prompt_input: `{input}{{}}${SENTENCE}`, prompt_no_input: SENTENCE, response_split: '### Response:' },
  ],
  [
    'tokenizer_config.json',
    {
      chat_template: [{ name: 'default', template: '{{ messages }}{{ bos_token }}' }],
      bos_token: '<s>',
      added_tokens_decoder: { 9: { content: '<s>' } },
    },
  ],
]

test.each(TEMPLATES)(`${FILES_PER_READER} damaged files named %s are read or refused`, async (name, json) => {
  const bytes = new TextEncoder().encode(JSON.stringify(json))
  for (let seed = 0; seed < FILES_PER_READER; seed++) {
    const damaged = memoryFile(name, mutate(bytes, seededRandom(seed), bytes.length))
    try {
      await findPromptForm(fileSet([damaged]), '')
    } catch (error) {
      if (!(error instanceof AdapterError)) throw new Error(`${name}, seed ${seed}: ${String(error)}`, { cause: error })
    }
  }
})

test(`${FILES_PER_READER} damaged canonical deltas are decoded or refused`, async () => {
  const source = await importAdapter(peftFiles(peftTensors(base, ['model.layers.0.self_attn.q_proj', 'lm_head'])), {
    base,
  })
  const bytes = encodeDelta(await loadDelta(source), base)
  const counts = { accepted: 0, refused: 0 }
  for (let seed = 0; seed < FILES_PER_READER; seed++) {
    const damaged = mutate(bytes, seededRandom(seed), 1000)
    try {
      const delta = decodeDelta(damaged, base)
      // Whatever is accepted is canonical: encoding it again gives the same bytes. Only the base's display name is free.
      const name = parseHeader(damaged, damaged.byteLength, 'x').metadata.get('base_name')!
      expect(encodeDelta(delta, { ...base, name })).toEqual(damaged)
      counts.accepted++
    } catch (error) {
      if (!(error instanceof AdapterError)) throw new Error(`seed ${seed}: ${String(error)}`, { cause: error })
      counts.refused++
    }
  }
  expect(counts.refused).toBeGreaterThan(FILES_PER_READER / 20)
})

test(`${FILES_PER_READER} damaged patterns are compiled and matched, or refused`, () => {
  const pattern =
    '(?:.*?(?:language|text).*?(?:self_attn|mlp){1,3}.*?[\\da-f^\\]]+)|(\\bmodel\\.layers\\.[\\d]{1,}\\.(?:q_proj|k)+)*$'
  const bytes = new TextEncoder().encode(pattern)
  for (let seed = 0; seed < FILES_PER_READER; seed++) {
    const damaged = new TextDecoder('latin1').decode(mutate(bytes, seededRandom(seed), 200))
    try {
      fullMatcher(damaged, 'test')('model.layers.10.self_attn.q_proj')
    } catch (error) {
      if (!(error instanceof AdapterError))
        throw new Error(`seed ${seed} (${damaged}): ${String(error)}`, { cause: error })
    }
  }
})
