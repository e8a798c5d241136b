// The tokenizer inside a GGUF file, as the tokenizer.json that it was made from.
// Byte-level BPE only: the splitting expressions are those of the models' own tokenizer.json files.
import type { GgufHeader, GgufValue } from '../../adapters/gguf.ts'
import { StartupError } from '../errors.ts'
import type { TokenizerFiles } from './model-source.ts'

const LLAMA3 =
  "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

const split = (pattern: string) => ({
  type: 'Sequence',
  pretokenizers: [
    { type: 'Split', pattern: { Regex: pattern }, behavior: 'Isolated', invert: false },
    { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: false },
  ],
})

/** By `tokenizer.ggml.pre`: how text is split before merging. */
const PRE_TOKENIZERS: Readonly<Record<string, object>> = {
  'gpt-2': { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true },
  smollm: {
    type: 'Sequence',
    pretokenizers: [
      { type: 'Digits', individual_digits: true },
      { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true },
    ],
  },
  'llama-bpe': split(LLAMA3),
  'smaug-bpe': split(LLAMA3),
  qwen2: split(LLAMA3.replace('\\p{N}{1,3}', '\\p{N}')),
}

/** What the models' tokenizer.json files do before splitting, which GGUF does not say. */
const NORMALIZERS: Readonly<Record<string, object>> = { qwen2: { type: 'NFC' } }

/** Where the file does not say, llama.cpp begins these models' texts with their first token. */
const BOS_BY_DEFAULT = ['llama-bpe']

/**
 * Control tokens that end an answer whatever else the file says, as in llama.cpp (`special_eog_ids`): many files name the end of
 * the text or of a turn alone. Its list is longer by those of models that cannot be read here.
 */
const END_TOKENS = new Set([
  ...['<|eot_id|>', '<|eom_id|>', '<|end_of_text|>', '<|im_end|>', '<|endoftext|>', '<|end|>', '</s>', '<eos>'],
  ...['<end_of_turn>', '<end_of_utterance>', '<EOT>', '_<EOT>', '[EOT]', '[EOS]', '<｜end▁of▁sentence｜>'],
  // Qwen's, behind code that fills a gap and between files.
  ...['<|fim_pad|>', '<|repo_name|>', '<|file_sep|>'],
])

/** GGUF's token types: 3 control, 4 user defined. */
const CONTROL = 3
const USER_DEFINED = 4

/** @throws StartupError when the tokenizer is of a kind that cannot be rebuilt: its files must lie beside the GGUF then */
export function ggufTokenizer(path: string, { metadata }: GgufHeader, eosTokenIds: readonly number[]): TokenizerFiles {
  const model = metadata.get('tokenizer.ggml.model')
  const pre = String(metadata.get('tokenizer.ggml.pre') ?? 'no pre-tokenizer')
  const preTokenizer = Object.hasOwn(PRE_TOKENIZERS, pre) ? PRE_TOKENIZERS[pre] : undefined
  if (model !== 'gpt2' || !preTokenizer) {
    throw new StartupError(
      `${path}: the tokenizer "${String(model ?? 'none')}" (${pre}) in this file is not supported; put the model's tokenizer.json beside it.`,
    )
  }
  const { tokens, added } = tokensOf(path, metadata)
  const merges = list(path, metadata, 'tokenizer.ggml.merges', (item) => typeof item === 'string')
  const said = saidOfTokens(path, metadata, eosTokenIds)
  const addsBos = metadata.get('tokenizer.ggml.add_bos_token') ?? BOS_BY_DEFAULT.includes(pre)
  return {
    tokenizer: {
      version: '1.0',
      added_tokens: added,
      normalizer: NORMALIZERS[pre] ?? null,
      pre_tokenizer: preTokenizer,
      post_processor: addsBos === true && said.bosToken !== '' ? bosFirst(said.bosToken, tokens) : null,
      decoder: { type: 'ByteLevel', add_prefix_space: true, trim_offsets: true, use_regex: true },
      model: {
        type: 'BPE',
        dropout: null,
        unk_token: null,
        continuing_subword_prefix: null,
        end_of_word_suffix: null,
        fuse_unk: false,
        byte_fallback: false,
        ignore_merges: pre === 'llama-bpe',
        vocab: Object.fromEntries(tokens.map((token, id) => [token, id])),
        merges,
      },
    },
    config: {},
    ...said,
  }
}

/**
 * `files` of the directory that the GGUF lies in, which are the model's own, and of what they do not say what the GGUF's metadata
 * do. An answer ends with the end tokens of both.
 */
export function withGgufTokens(path: string, { metadata }: GgufHeader, files: TokenizerFiles): TokenizerFiles {
  const said = saidOfTokens(path, metadata, files.eosTokenIds)
  const { chatTemplate, toolTemplate } = files.chatTemplate === undefined ? said : files
  return {
    ...files,
    bosToken: files.bosToken || said.bosToken,
    eosToken: files.eosToken || said.eosToken,
    chatTemplate,
    toolTemplate: files.toolTemplate ?? toolTemplate,
    eosTokenIds: said.eosTokenIds,
  }
}

/** What the metadata say beside the tokenizer itself, whatever kind it is of. */
function saidOfTokens(
  path: string,
  metadata: GgufHeader['metadata'],
  eosTokenIds: readonly number[],
): Omit<TokenizerFiles, 'tokenizer' | 'config'> {
  const { tokens, added } = tokensOf(path, metadata)
  const ends = added.filter(({ content, special }) => special && END_TOKENS.has(content)).map(({ id }) => id)
  const tokenOf = (key: string) => tokens[Number(metadata.get(`tokenizer.ggml.${key}_token_id`))] ?? ''
  const template = (key: string) => {
    const text = metadata.get(key)
    return typeof text === 'string' ? text : undefined
  }
  return {
    bosToken: tokenOf('bos'),
    eosToken: tokenOf('eos'),
    chatTemplate: template('tokenizer.chat_template'),
    toolTemplate: template('tokenizer.chat_template.tool_use'),
    eosTokenIds: [...new Set([...eosTokenIds, ...ends])],
  }
}

function tokensOf(path: string, metadata: GgufHeader['metadata']) {
  const tokens = list(path, metadata, 'tokenizer.ggml.tokens', (item) => typeof item === 'string')
  const types = list(path, metadata, 'tokenizer.ggml.token_type', (item) => typeof item === 'number')
  const added = tokens.flatMap((content, id) => {
    const special = types[id] === CONTROL
    if (!special && types[id] !== USER_DEFINED) return []
    return [{ id, content, single_word: false, lstrip: false, rstrip: false, normalized: false, special }]
  })
  return { tokens, added }
}

/** An array of the metadata, empty where there is none. @throws StartupError when it holds something else */
function list<T extends GgufValue>(
  path: string,
  metadata: GgufHeader['metadata'],
  key: string,
  fits: (item: GgufValue) => item is T,
): readonly T[] {
  const items = metadata.get(key) ?? []
  if (Array.isArray(items) && items.every(fits)) return items
  throw new StartupError(`${path}: ${key} is not a list of the right kind: the file is damaged; download it again.`)
}

function bosFirst(bosToken: string, tokens: readonly string[]): object {
  const special = { SpecialToken: { id: bosToken, type_id: 0 } }
  return {
    type: 'TemplateProcessing',
    single: [special, { Sequence: { id: 'A', type_id: 0 } }],
    pair: [special, { Sequence: { id: 'A', type_id: 0 } }, special, { Sequence: { id: 'B', type_id: 1 } }],
    special_tokens: { [bosToken]: { id: bosToken, ids: [tokens.indexOf(bosToken)], tokens: [bosToken] } },
  }
}
