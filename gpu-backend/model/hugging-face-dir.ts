// A base model in a Hugging Face directory: config.json, safetensors, tokenizer files, chat template.
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import * as z from 'zod/mini'
import { StartupError } from '../errors.ts'
import { parseModelConfig } from './model-config.ts'
import type { ModelSource, TokenizerFiles } from './model-source.ts'
import { readJson } from './read-json.ts'
import { openSafetensorsWeights, weightFiles } from './safetensors-weights.ts'

/** @throws StartupError naming the file and field that is missing, damaged or not supported */
export function openHuggingFaceDir(dir: string): ModelSource {
  const config = parseModelConfig(readJson(join(dir, 'config.json')), join(dir, 'config.json'))
  return {
    config,
    tokenizer: tokenizerFiles(dir, config.eosTokenIds),
    files: weightFiles(dir),
    openWeights: () => openSafetensorsWeights(dir),
  }
}

const SpecialToken = z.nullish(z.union([z.string(), z.looseObject({ content: z.string() })]))

const TokenizerConfig = z.looseObject({
  bos_token: SpecialToken,
  eos_token: SpecialToken,
  chat_template: z.nullish(z.union([z.string(), z.array(z.object({ name: z.string(), template: z.string() }))])),
})

const GenerationConfig = z.looseObject({ eos_token_id: z.nullish(z.union([z.int(), z.array(z.int())])) })

/** The tokenizer's files in a model directory. */
export function tokenizerFiles(dir: string, eosTokenIds: readonly number[]): TokenizerFiles {
  const config = readOptional(join(dir, 'tokenizer_config.json'), TokenizerConfig)
  const generation = readOptional(join(dir, 'generation_config.json'), GenerationConfig)
  const templateFile = join(dir, 'chat_template.jinja')
  const named = config.chat_template
  const inConfig = typeof named === 'string' ? named : named?.find(({ name }) => name === 'default')?.template
  return {
    tokenizer: readJson(join(dir, 'tokenizer.json')) as object,
    config,
    bosToken: tokenText(config.bos_token),
    eosToken: tokenText(config.eos_token),
    chatTemplate: existsSync(templateFile) ? readFileSync(templateFile, 'utf8') : inConfig,
    eosTokenIds: [...new Set([...eosTokenIds, ...[generation.eos_token_id ?? []].flat()])],
  }
}

function readOptional<T>(file: string, schema: z.ZodMiniType<T>): T {
  const parsed = schema.safeParse(existsSync(file) ? readJson(file) : {})
  if (parsed.success) return parsed.data
  const issue = parsed.error.issues[0]!
  throw new StartupError(`${file}: field "${issue.path.join('.')}" is wrong: ${issue.message}.`)
}

function tokenText(token: z.infer<typeof SpecialToken>): string {
  return typeof token === 'string' ? token : (token?.content ?? '')
}
