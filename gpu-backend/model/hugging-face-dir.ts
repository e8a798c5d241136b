// A base model in a Hugging Face directory: config.json, safetensors, tokenizer files, chat template.
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import * as z from 'zod/mini'
import { StartupError } from '../errors.ts'
import { type ModelConfig, parseModelConfig } from './model-config.ts'
import type { ModelSource, TokenizerFiles, Weights } from './model-source.ts'
import { readJson } from './read-json.ts'
import { openSafetensorsWeights, weightFiles } from './safetensors-weights.ts'
import { tokenId } from './token-bytes.ts'

/** @throws StartupError naming the file and field that is missing, damaged or not supported */
export function openHuggingFaceDir(dir: string): ModelSource {
  const config = parseModelConfig(readJson(join(dir, 'config.json')), join(dir, 'config.json'))
  return {
    config,
    tokenizer: tokenizerFiles(dir, config.eosTokenIds),
    files: weightFiles(dir),
    openWeights: async () => {
      const weights = await openSafetensorsWeights(dir)
      try {
        if (config.tiedEmbeddings) await refuseOtherHead(dir, weights, config)
      } catch (error) {
        await weights.close()
        throw error
      }
      return weights
    },
  }
}

/** A head that was trained apart from the embeddings: transformers 5 computes with it, transformers 4 and vLLM do not. */
async function refuseOtherHead(
  dir: string,
  weights: Weights,
  { vocabSize, hiddenSize }: Pick<ModelConfig, 'vocabSize' | 'hiddenSize'>,
): Promise<void> {
  if (!weights.has('lm_head.weight')) return
  const shape = [vocabSize, hiddenSize]
  const head = await weights.load('lm_head.weight', shape)
  const embedding = await weights.load('model.embed_tokens.weight', shape)
  if (head.every((value, i) => Object.is(value, embedding[i]))) return
  throw new StartupError(
    `The model in ${dir} has a tensor "lm_head.weight" unlike its embeddings, but its config.json says "tie_word_embeddings": true: set that to false if the head was trained, or else remove the tensor.`,
  )
}

const SpecialToken = z.nullish(z.union([z.string(), z.looseObject({ content: z.string() })]))

/** `add_bos_token` and `add_eos_token` are not read, as by transformers 5: tokenizer.json's post_processor is what adds tokens. */
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
  const tokenizer = readJson(join(dir, 'tokenizer.json')) as object
  const eosToken = tokenText(config.eos_token)
  // As vLLM does: of a model for chats, config.json often names the end of the text alone, and the tokenizer that of a turn.
  const ends = [generation.eos_token_id ?? [], tokenId(tokenizer, eosToken) ?? []].flat()
  return {
    tokenizer,
    config,
    bosToken: tokenText(config.bos_token),
    eosToken,
    ...chatTemplates(dir, config.chat_template),
    eosTokenIds: [...new Set([...eosTokenIds, ...ends])],
  }
}

/** In files of their own, as transformers 5 keeps them, before those in tokenizer_config.json. */
function chatTemplates(
  dir: string,
  inConfig: z.infer<typeof TokenizerConfig>['chat_template'],
): Pick<TokenizerFiles, 'chatTemplate' | 'toolTemplate'> {
  const text = (...names: string[]) => {
    const file = join(dir, ...names)
    return existsSync(file) ? readFileSync(file, 'utf8') : undefined
  }
  const inFile = text('chat_template.jinja')
  if (inFile !== undefined) {
    return { chatTemplate: inFile, toolTemplate: text('additional_chat_templates', 'tool_use.jinja') }
  }
  if (typeof inConfig === 'string') return { chatTemplate: inConfig }
  const named = (wanted: string) => inConfig?.find(({ name }) => name === wanted)?.template
  return { chatTemplate: named('default'), toolTemplate: named('tool_use') }
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
