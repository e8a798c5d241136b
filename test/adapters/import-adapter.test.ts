import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { targetModules } from '../../adapters/base-model.ts'
import { encodeDelta } from '../../adapters/canonical.ts'
import { loadDelta } from '../../adapters/delta-source.ts'
import { AdapterError } from '../../adapters/errors.ts'
import { type AdapterFile, type FileSet, fileSet, memoryFile } from '../../adapters/file-set.ts'
import { importAdapter } from '../../adapters/import-adapter.ts'
import type { ImportOptions } from '../../adapters/import-options.ts'
import { UNKNOWN_FINGERPRINT } from '../../adapters/infer-base.ts'
import { ChatTemplate } from '../../gpu-backend/model/chat-template.ts'
import { directoryFiles } from '../support/directory-files.ts'
import { type NamedTensor, peftFiles, peftTensors, safetensorsBytes } from '../support/peft-files.ts'
import { FORMATS, tinyBase } from '../support/tiny-base.ts'

const base = tinyBase('gqa')
const Q = 'model.layers.0.self_attn.q_proj'
const PAIR = peftTensors(base, [Q])

function text(name: string, content: string | object) {
  return memoryFile(name, new TextEncoder().encode(typeof content === 'string' ? content : JSON.stringify(content)))
}

/** One file of tensors and whatever lies beside it. */
function tensorFiles(name: string, tensors: readonly NamedTensor[], ...beside: ReturnType<typeof text>[]): FileSet {
  return fileSet([memoryFile(name, safetensorsBytes(tensors)), ...beside])
}

async function refusal(files: FileSet, options: Partial<ImportOptions> = {}): Promise<AdapterError> {
  try {
    await importAdapter(files, { base, ...options })
  } catch (error) {
    if (error instanceof AdapterError) return error
    throw error
  }
  throw new Error('was accepted')
}

const extra = (name: string, shape: readonly number[]) => peftFiles([...PAIR, { name, shape }])
const prefix = `base_model.model.${Q}`
const layerOf = (layer: number, module = 'self_attn.q_proj') => [
  { name: `base_model.model.model.layers.${layer}.${module}.lora_A.weight`, shape: [2, 32] },
  { name: `base_model.model.model.layers.${layer}.${module}.lora_B.weight`, shape: [32, 2] },
]

const LORALIB = [
  { name: `${Q}.lora_A`, shape: [2, 32] },
  { name: `${Q}.lora_B`, shape: [32, 2] },
]

const REFUSALS: readonly [what: string, files: FileSet, code: string, message: RegExp][] = [
  ['no files', new Map(), 'missing', /no files/],
  ['another PEFT method', peftFiles(PAIR, { peft_type: 'ADALORA' }), 'unsupported', /peft_type "ADALORA"/],
  ['DoRA', peftFiles(PAIR, { use_dora: true }), 'unsupported', /use_dora/],
  [
    'a DoRA magnitude',
    extra(`${prefix}.lora_magnitude_vector`, [32]),
    'unsupported',
    /lora_magnitude_vector.*use_dora false/,
  ],
  [
    'trained tokens, also where the file has lost them',
    peftFiles(PAIR, { trainable_token_indices: { embed_tokens: [3, 4] } }),
    'unsupported',
    /trainable_token_indices is set: it replaces rows/,
  ],
  ['QALoRA', peftFiles(PAIR, { use_qalora: true }), 'unsupported', /use_qalora/],
  ['block-diagonal LoRA', peftFiles(PAIR, { use_bdlora: { match_strict: true } }), 'unsupported', /use_bdlora/],
  ['an activated LoRA', peftFiles(PAIR, { alora_invocation_tokens: [1] }), 'unsupported', /alora_invocation_tokens/],
  ['Arrow', peftFiles(PAIR, { arrow_config: { top_k: 2 } }), 'unsupported', /arrow_config/],
  ['KaSA', peftFiles(PAIR, { kasa_config: { beta: 1 } }), 'unsupported', /kasa_config/],
  ['target_parameters', peftFiles(PAIR, { target_parameters: ['experts.w1'] }), 'unsupported', /target_parameters/],
  ['layer replication', peftFiles(PAIR, { layer_replication: [[0, 2]] }), 'unsupported', /layer_replication/],
  ...['pissa', 'pissa_niter_16', 'olora', 'corda', 'lora_ga', 'loftq'].map(
    (init): [string, FileSet, string, RegExp] => [
      `init_lora_weights ${init}`,
      peftFiles(PAIR, { init_lora_weights: init }),
      'unsupported',
      /path_initial_model/,
    ],
  ),
  [
    'an initialisation of a PEFT to come, which may have changed the base',
    peftFiles(PAIR, { init_lora_weights: 'residue' }),
    'unsupported',
    /"residue" is unknown to PEFT up to 0\.21/,
  ],
  ['no lora_alpha', peftFiles(PAIR, { lora_alpha: undefined }), 'missing', /lora_alpha/],
  ['a rank that is no number', peftFiles(PAIR, { r: 'eight' }), 'malformed', /"r"/],
  [
    'a rank that the configuration gives to no module, which PEFT itself cannot load',
    peftFiles(PAIR, { r: 4, rank_pattern: { k_proj: 8 } }),
    'mismatch',
    /says r 4 where the tensors of model\.layers\.0\.self_attn\.q_proj have rank 2.*scale is unknown/,
  ],
  ['a pattern that is no number', peftFiles(PAIR, { alpha_pattern: { q_proj: 'x' } }), 'malformed', /alpha_pattern/],
  [
    'a pattern with a look-ahead',
    peftFiles(PAIR, { alpha_pattern: { '(?=q)q_proj': 4 } }),
    'unsupported',
    /look-around/,
  ],
  ['a bias of lora_B', extra(`${prefix}.lora_B.bias`, [32]), 'unsupported', /lora_bias false/],
  ['a trained bias', extra(`${prefix}.base_layer.bias`, [32]), 'unsupported', /bias "none"/],
  ['AdaLoRA tensors', extra(`${prefix}.lora_E`, [2, 1]), 'unsupported', /AdaLoRA/],
  [
    'trained token rows',
    extra('base_model.model.model.embed_tokens.token_adapter.trainable_tokens_delta', [3, 32]),
    'unsupported',
    /trainable_token_indices/,
  ],
  ['nested parameters', extra(`${prefix}.base_layer.lora_A.weight`, [2, 32]), 'unsupported', /target_parameters/],
  [
    'modules_to_save',
    peftFiles([...PAIR, { name: 'base_model.model.lm_head.weight', shape: [64, 32] }], {
      modules_to_save: ['lm_head'],
    }),
    'unsupported',
    /lm_head\.weight.*modules_to_save/,
  ],
  [
    'modules_to_save by the end of their names, as PEFT takes them',
    peftFiles([...PAIR, { name: 'base_model.model.model.layers.0.input_layernorm.weight', shape: [32] }], {
      modules_to_save: ['norm'],
    }),
    'unsupported',
    /input_layernorm\.weight.*modules_to_save/,
  ],
  [
    'modules_to_save without their weights',
    peftFiles(PAIR, { modules_to_save: ['lm_head'] }),
    'missing',
    /no weights of "lm_head"/,
  ],
  [
    'a resized vocabulary',
    extra('base_model.model.model.embed_tokens.base_layer.weight', [70, 32]),
    'unsupported',
    /vocabulary was resized/,
  ],
  [
    'a full weight',
    extra('base_model.model.model.norm.weight', [32]),
    'unsupported',
    /model\.norm\.weight.*not a LoRA tensor/,
  ],
  ['a lone A', peftFiles([PAIR[0]!]), 'malformed', /no matching lora_B/],
  [
    'two adapters in one file',
    peftFiles([...PAIR, { ...PAIR[0]!, name: `${prefix}.lora_A.other.weight` }]),
    'unsupported',
    /two adapters/,
  ],
  [
    'two adapters in one file that change different modules',
    peftFiles([
      ...PAIR.map(({ name, shape }) => ({ name: name.replace('.weight', '.default.weight'), shape })),
      ...layerOf(1).map(({ name, shape }) => ({ name: name.replace('.weight', '.other.weight'), shape })),
    ]),
    'unsupported',
    /lora_[AB]\.default\.weight.*layers\.1.*lora_A\.other\.weight.*two adapters/,
  ],
  ['a layer too many', peftFiles(layerOf(7)), 'mismatch', /layers\.7.*only 2 layers/],
  ['an unknown module', peftFiles(layerOf(0, 'mlp.router')), 'mismatch', /mlp\.router/],
  ['another width', peftFiles([{ ...PAIR[0]!, shape: [2, 40] }, PAIR[1]!]), 'mismatch', /\[2, 40\].*needs \[2, 32\]/],
  ['A and B of different rank', peftFiles([PAIR[0]!, { ...PAIR[1]!, shape: [32, 3] }]), 'mismatch', /needs \[32, 2\]/],
  ['shards that were not gathered', peftFiles([{ ...PAIR[0]!, shape: [0] }, PAIR[1]!]), 'malformed', /ZeRO-3/],
  [
    'only a configuration',
    fileSet([text('adapter_config.json', { peft_type: 'LORA' })]),
    'missing',
    /adapter_model\.safetensors/,
  ],
  [
    'PEFT weights without configuration',
    tensorFiles('adapter_model.safetensors', PAIR),
    'missing',
    /no adapter_config\.json/,
  ],
  [
    'two adapters in folders',
    fileSet([text('a/adapter_config.json', {}), text('b/adapter_config.json', {})]),
    'unsupported',
    /a\/adapter_config\.json and b\//,
  ],
  [
    'AdapterHub',
    fileSet([text('adapter_config.json', { config: {}, model_class: 'BertModel', hidden_size: 8 })]),
    'unsupported',
    /AdapterHub/,
  ],
  [
    "a model's own configuration",
    fileSet([text('adapter_config.json', { architectures: ['LlamaForCausalLM'] })]),
    'unsupported',
    /whole model/,
  ],
  ['a strange configuration', fileSet([text('adapter_config.json', { hello: 1 })]), 'unsupported', /no peft_type/],
  ['broken JSON', fileSet([text('adapter_config.json', '{"peft_type": "LORA",')]), 'malformed', /not valid JSON/],
  ['a whole model', directoryFiles(`${FORMATS}/base-gqa`), 'unsupported', /whole model/],
  ['a shard', tensorFiles('model-00001-of-00002.safetensors', PAIR), 'unsupported', /shard/],
  [
    'a shard of an adapter, the others beside it or not',
    fileSet([
      text('adapter_config.json', { peft_type: 'LORA', r: 2, lora_alpha: 4 }),
      memoryFile('adapter_model-00001-of-00004.safetensors', safetensorsBytes(PAIR)),
    ]),
    'unsupported',
    /00001-of-00004\.safetensors is one of several files.*max_shard_size/,
  ],
  [
    'an image LoRA',
    tensorFiles('x.safetensors', [{ name: 'lora_unet_down.lora_down.weight', shape: [2, 2] }]),
    'unsupported',
    /image model/,
  ],
  [
    'LoHa',
    tensorFiles('x.safetensors', [{ name: 'a.hada_w1_a', shape: [2, 2] }]),
    'unsupported',
    /another PEFT method/,
  ],
  [
    'a soft prompt',
    tensorFiles('x.safetensors', [{ name: 'prompt_embeddings', shape: [2, 2] }]),
    'unsupported',
    /soft prompt/,
  ],
  [
    'a git-LFS pointer',
    fileSet([
      text('adapter_config.json', { peft_type: 'LORA' }),
      text('adapter_model.safetensors', 'version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n'),
    ]),
    'malformed',
    /git-LFS pointer/,
  ],
  ['an empty file', fileSet([text('adapter.safetensors', '')]), 'malformed', /empty/],
  [
    'a web page',
    fileSet([text('adapter.safetensors', '<!doctype html><title>Not found</title>')]),
    'too_large',
    /not a safetensors file/,
  ],
  ['text named .pt', fileSet([text('adapter.pt', 'hello, I am not a pickle')]), 'malformed', /torch\.save/],
  ['an archive', fileSet([text('adapter.zip', 'PK')]), 'unsupported', /unpack/],
  ['two candidates', fileSet([text('a.pt', 'x'), text('b.pt', 'x')]), 'unsupported', /a\.pt and b\.pt/],
  [
    'mistral-finetune without params.json',
    fileSet([directoryFiles(`${FORMATS}/mistral-finetune`).get('lora.safetensors')!]),
    'missing',
    /params\.json.*--scaling/,
  ],
  [
    'a mixture of experts',
    tensorFiles(
      'lora.safetensors',
      [{ name: 'layers.0.feed_forward.experts.0.w1.lora_A.weight', shape: [2, 32] }],
      text('params.json', { lora: { rank: 2, scaling: 2 } }),
    ),
    'unsupported',
    /mixture of experts/,
  ],
  [
    'a merged mistral model',
    tensorFiles(
      'consolidated.safetensors',
      [{ name: 'layers.0.attention.wq.weight', shape: [32, 32] }],
      text('params.json', { lora: { rank: 2, scaling: 2 } }),
    ),
    'unsupported',
    /merged model.*save_adapters/,
  ],
  [
    'MLX DoRA',
    tensorFiles(
      'adapters.safetensors',
      [],
      text('adapter_config.json', { fine_tune_type: 'dora', lora_parameters: { scale: 1 } }),
    ),
    'unsupported',
    /fine_tune_type "dora"/,
  ],
  [
    'MLX without a scale',
    tensorFiles('adapters.safetensors', [], text('adapter_config.json', { fine_tune_type: 'lora' })),
    'missing',
    /lora_parameters\.scale/,
  ],
  [
    'MLX: one module under two names',
    tensorFiles(
      'adapters.safetensors',
      [`${Q}.lora_`, `module.${Q}.lora_`].flatMap((name) => [
        { name: `${name}a`, shape: [32, 2] },
        { name: `${name}b`, shape: [2, 32] },
      ]),
      text('adapter_config.json', { fine_tune_type: 'lora', lora_parameters: { scale: 1 } }),
    ),
    'malformed',
    /two adapters for model\.layers\.0/,
  ],
  ['loralib without alpha', tensorFiles('x.safetensors', LORALIB), 'missing', /--alpha/],
]

describe('an adapter that cannot be served is refused in one sentence', () => {
  test.each(REFUSALS)('%s', async (_what, files, code, message) => {
    const error = await refusal(files)
    expect({ code: error.code, message: error.message }).toEqual({ code, message: expect.stringMatching(message) })
    expect(error.message).toMatch(/^[^\n]*[.;:][^\n]*\.$/)
  })

  test('loralib: biases and full weights, which lora_state_dict(bias=...) adds', async () => {
    const withBias = tensorFiles('x.safetensors', [...LORALIB, { name: `${Q}.bias`, shape: [32] }])
    expect((await refusal(withBias, { alpha: 2 })).message).toMatch(/bias="none"/)
    const withHead = tensorFiles('x.safetensors', [...LORALIB, { name: 'classifier.weight', shape: [2, 32] }])
    expect((await refusal(withHead, { alpha: 2 })).message).toMatch(/classifier\.weight/)
  })

  test.each([
    ['PEFT', peftFiles(PAIR), '--alpha', { alpha: 9 }],
    ['PEFT', peftFiles(PAIR), '--scaling', { scaling: 2 }],
    ['mistral-finetune', directoryFiles(`${FORMATS}/mistral-finetune`), '--alpha', { alpha: 3 }],
    ['MLX', directoryFiles(`${FORMATS}/mlx`), '--enable-lora', { enableLora: [true] }],
    ['llama.cpp', directoryFiles(`${FORMATS}/gguf-f32`), '--scaling', { scaling: 3 }],
    ['loralib', directoryFiles(`${FORMATS}/loralib-linear`), '--scaling', { scaling: 3 }],
  ])('%s: an option that its files do not need would be ignored in silence', async (_what, files, option, given) => {
    expect(await refusal(files, given)).toMatchObject({ code: 'mismatch', message: expect.stringContaining(option) })
  })

  test('loralib: an enable_lora that contradicts the side file', async () => {
    const files = directoryFiles(`${FORMATS}/loralib-merged-qkv`)
    expect(await refusal(files, { enableLora: [false, false, true] })).toMatchObject({
      code: 'mismatch',
      message: expect.stringMatching(/enable_lora is .* but --enable-lora is false,false,true/),
    })
  })

  test('loralib: side files of which none is the weights’ own, and that disagree', async () => {
    const files = (...beside: ReturnType<typeof text>[]) => tensorFiles('run-b.safetensors', LORALIB, ...beside)
    const [a, other] = [text('a.json', { alpha: 16 }), text('b.json', { lora_alpha: 4 })]
    expect(await refusal(files(a, other))).toMatchObject({
      code: 'mismatch',
      message: expect.stringMatching(/a\.json and b\.json say different things .* name the right one run-b\.json/),
    })
  })

  test('alpaca-lora: the empty file that its users report, with where to find the right one', async () => {
    const files = fileSet(
      [...peftFiles([]).values()]
        .slice(0, 1)
        .concat(directoryFiles(`${FORMATS}/alpaca-empty`).get('adapter_model.bin')!),
    )
    expect(await refusal(files)).toMatchObject({
      code: 'ineffective',
      message: expect.stringContaining('checkpoint-N/pytorch_model.bin'),
    })
  })
})

describe('what is odd but served', () => {
  const read = (files: FileSet, options: Partial<ImportOptions> = {}) => importAdapter(files, { base, ...options })

  test.each([
    ['without the prefix', `${Q}.lora_A.weight`, `${Q}.lora_B.weight`],
    ['with the adapter name', `${prefix}.lora_A.default.weight`, `${prefix}.lora_B.default.weight`],
    ['compiled', `base_model.model._orig_mod.${Q}.lora_A.weight`, `base_model.model._orig_mod.${Q}.lora_B.weight`],
    ['compiled with PEFT in it', `_orig_mod.${prefix}.lora_A.weight`, `_orig_mod.${prefix}.lora_B.weight`],
    ['of AutoModel', `base_model.model.${Q.slice(6)}.lora_A.weight`, `base_model.model.${Q.slice(6)}.lora_B.weight`],
  ])('PEFT keys %s', async (_how, a, b) => {
    const source = await read(
      peftFiles([
        { name: a, shape: [2, 32] },
        { name: b, shape: [32, 2] },
      ]),
    )
    expect([...source.modules.keys()]).toEqual([Q])
  })

  test('PEFT: patterns mean the path within its model, whatever was wrapped around that', async () => {
    const tensors = peftTensors(base, [Q]).map((tensor) => ({ ...tensor, name: `_orig_mod.${tensor.name}` }))
    const { modules } = await read(peftFiles(tensors, { alpha_pattern: { '^model.layers.0.self_attn.q_proj': 6 } }))
    expect(modules.get(Q)).toMatchObject({ scale: 3 })
  })

  test('loralib: the side file named like the weights goes before lora.json, and that before others that agree', async () => {
    const scale = async (...beside: ReturnType<typeof text>[]) =>
      (await read(tensorFiles('run-b.safetensors', LORALIB, ...beside))).modules.get(Q)!.scale
    const [a, lora, own] = [
      text('a.json', { lora_alpha: 2 }),
      text('lora.json', { lora_alpha: 4 }),
      text('run-b.json', { alpha: 8 }),
    ]
    expect(await scale(a, text('z.json', { alpha: 2 }))).toBe(1)
    expect(await scale(a, lora)).toBe(2)
    expect(await scale(a, lora, own)).toBe(4)
  })

  test('a canonical delta keeps its type, and its chat template unless somebody says otherwise', async () => {
    const chatTemplate = '{{ messages[0].content }}'
    const metadata = { base: base.fingerprint, sourceFormat: 'peft', chatTemplate }
    const delta = await loadDelta(await read(peftFiles(PAIR)))
    const files = fileSet([memoryFile('d.safetensors', encodeDelta({ ...delta, metadata }, base, 'f16'))])
    expect(await read(files)).toMatchObject({ dtype: 'f16', metadata })
    expect((await read(files, { ignoreChatTemplate: true })).metadata).toEqual({
      base: base.fingerprint,
      sourceFormat: 'peft',
    })
  })

  test('PEFT weights under another name, when nothing else could be meant', async () => {
    const [config, weights] = [...peftFiles(PAIR).values()]
    const renamed = (name: string) => ({ ...weights!, name })
    expect((await read(fileSet([config!, renamed('final.safetensors')]))).modules.size).toBe(1)
    const two = fileSet([config!, renamed('a.safetensors'), renamed('b.safetensors')])
    expect((await refusal(two)).code).toBe('missing')
    const trainer = fileSet([
      config!,
      renamed('final.safetensors'),
      text('optimizer.pt', 'x'),
      text('rng_state_0.pth', 'x'),
    ])
    expect((await read(trainer)).modules.size).toBe(1)
  })

  test('the tensors win over the configuration, and the disagreement is told', async () => {
    const pattern = { k_proj: 2 }
    const config = { r: 16, lora_alpha: 16, rank_pattern: pattern, target_modules: ['q_proj', 'v_proj'] }
    const source = await read(peftFiles(PAIR, config))
    expect(source.modules.get(Q)).toMatchObject({ rank: 2, scale: 8 })
    expect(source.notices).toEqual([
      expect.stringContaining('says r 16 where the tensors have rank 2'),
      expect.stringContaining('targets "v_proj"'),
      'self_attn.q_proj has tensors in 1 of 2 layers; none in layer 1.',
    ])
  })

  test.each([
    ['target_modules', { target_modules: ['v_proj', 'layers.1.self_attn.q_proj'] }, 1],
    ['target_modules', { target_modules: '.*[.]1[.].*q_proj' }, 1],
    ['exclude_modules', { exclude_modules: ['layers.0.self_attn.q_proj'] }, 1],
    ['exclude_modules', { exclude_modules: '.*q_proj' }, 2],
    ['layers_to_transform', { layers_to_transform: [1] }, 1],
    ['layers_to_transform', { layers_to_transform: 1 }, 1],
  ])('modules that PEFT would not load, by %s of %o, are told', async (field, config, count) => {
    const { modules, notices } = await read(peftFiles([...layerOf(0), ...layerOf(1)], config))
    expect([...modules.keys()]).toContain(Q)
    const told = `${count} modules (first "${Q}") have tensors that PEFT would not load, by ${field}`
    expect(notices).toContainEqual(expect.stringContaining(told))
  })

  test('settings that leave out modules without tensors, and none that have some, are not told', async () => {
    const whole = { target_modules: [Q, 'q_proj', 'v_proj'], layers_to_transform: [1], exclude_modules: ['v_proj'] }
    expect((await read(peftFiles([...layerOf(0), ...layerOf(1)], whole))).notices).toEqual([])
    const all = { target_modules: 'all-linear', exclude_modules: '', layers_to_transform: [] }
    expect((await read(peftFiles([...layerOf(0), ...layerOf(1)], all))).notices).toEqual([])
  })

  test('a full embedding that is not in modules_to_save is left out, with what that means had it been changed', async () => {
    const embedding = { name: 'base_model.model.model.embed_tokens.weight', shape: [64, 32] }
    const { modules, notices } = await read(peftFiles([...layerOf(0), ...layerOf(1), embedding]))
    expect(modules.has('model.embed_tokens')).toBe(false)
    expect(notices).toEqual([
      expect.stringMatching(/embed_tokens\.weight.*left out: had it been changed.*would differ/),
    ])
  })

  test('a tied head keeps its own r and alpha, whatever the rank of the embedding whose factors it has', async () => {
    const tied = tinyBase('tied')
    const tensors = (rank: number) => [
      { name: 'base_model.model.model.embed_tokens.lora_embedding_A', shape: [rank, 64] },
      { name: 'base_model.model.model.embed_tokens.lora_embedding_B', shape: [32, rank] },
      ...peftTensors(tied, ['lm_head'], rank),
    ]
    const scales = async (config: object, rank: number) => {
      const files = peftFiles(tensors(rank), { r: 4, lora_alpha: 8, ensure_weight_tying: true, ...config })
      const { modules } = await importAdapter(files, { base: tied })
      return [modules.get('model.embed_tokens')!.scale, modules.get('lm_head')!.scale]
    }
    // As PEFT 0.21.2 applies what it saved.
    expect(await scales({ rank_pattern: { embed_tokens: 2 } }, 2)).toEqual([4, 2])
    expect(await scales({ rank_pattern: { lm_head: 2 } }, 4)).toEqual([2, 4])
    expect(await scales({ rank_pattern: { lm_head: 2 }, use_rslora: true }, 4)).toEqual([4, 8 / Math.sqrt(2)])
    expect(await scales({ alpha_pattern: { lm_head: 2 } }, 4)).toEqual([2, 0.5])
  })

  test('PEFT: a pattern with syntax that only Python has is matched as Python matches it', async () => {
    const { modules } = await read(peftFiles(PAIR, { alpha_pattern: { '(?P<part>[qk])_proj': 6, '(?P<any>.*)': 3 } }))
    expect(modules.get(Q)).toMatchObject({ scale: 3 })
  })

  test('MLX: an alpha that old versions multiplied by is told, with the scale that they meant', async () => {
    const notices = async (config: object) => {
      const files = directoryFiles(`${FORMATS}/mlx`)
      return (await read(fileSet([...files.values(), text('adapter_config.json', config)]))).notices
    }
    const parameters = { rank: 4, alpha: 8, dropout: 0, scale: 2.5 }
    const old = await notices({ lora_layers: 2, lora_parameters: parameters })
    expect(old).toEqual([expect.stringMatching(/alpha 8 is not used.*write 5 as lora_parameters\.scale\.$/)])
    expect(await notices({ lora_layers: 2, lora_parameters: { ...parameters, alpha: 4 } })).toEqual([])
    expect(await notices({ num_layers: 2, fine_tune_type: 'lora', lora_parameters: parameters })).toEqual([])
  })

  test.each(['gaussian', 'eva', 'orthogonal', 'mica', true, false])(
    'PEFT: init_lora_weights %s leaves the base as it was',
    async (init) => {
      const { modules } = await read(peftFiles(PAIR, { init_lora_weights: init }))
      expect([...modules.keys()]).toEqual([Q])
    },
  )

  test('trained biases that PEFT did not save are told', async () => {
    const source = await read(peftFiles(PAIR, { bias: 'lora_only', layers_to_transform: [0] }))
    expect(source.notices).toEqual([expect.stringContaining('they were lost when it was saved')])
  })

  test('Unsloth: a long regular expression, its own mapping and a 4-bit base', async () => {
    const pattern =
      '(?:.*?(?:language|text).*?(?:self_attn|attention|attn|mlp|feed_forward|ffn|dense).*?(?:k_proj|v_proj|q_proj|o_proj).*?)|(?:\\bmodel\\.layers\\.[\\d]{1,}\\.(?:self_attn|mlp)\\.(?:(?:q_proj|k_proj|v_proj)))'
    const config = {
      auto_mapping: { base_model_class: 'LlamaForCausalLM', parent_library: 'transformers', unsloth_fixed: true },
      base_model_name_or_path: 'unsloth/llama-3.2-3b-instruct-unsloth-bnb-4bit',
      lora_dropout: 0,
      bias: 'none',
      target_modules: pattern,
      peft_version: '0.18.1',
      qalora_group_size: 16,
      use_qalora: false,
      alora_invocation_tokens: null,
      target_parameters: null,
    }
    expect((await read(peftFiles([...layerOf(0), ...layerOf(1)], config))).notices).toEqual([])
  })

  test('a setting of a PEFT to come is told, since it may change more than A and B do; one that is not set is not', async () => {
    const config = { use_tomorrow: { a: 1 }, other_of_tomorrow: null, third: false, qalora_group_size: 16 }
    expect((await read(peftFiles([...layerOf(0), ...layerOf(1)], config))).notices).toEqual([
      expect.stringMatching(/^adapter_config\.json sets "use_tomorrow", which no PEFT up to 0\.21 knows/),
    ])
  })

  test('axolotl and LLaMA-Factory: nulls, empty objects and duplicates where others have nothing', async () => {
    const config = {
      fan_in_fan_out: null,
      inference_mode: false,
      loftq_config: {},
      megatron_core: 'megatron.core',
      modules_to_save: null,
      rank_pattern: null,
      alpha_pattern: {},
      layer_replication: null,
      target_modules: ['q_proj', 'q_proj'],
      use_rslora: null,
      init_lora_weights: true,
    }
    expect((await read(peftFiles(PAIR, config))).modules.get(Q)).toMatchObject({ scale: 2 })
  })

  test.each(['axolotl', 'llama-factory', 'unsloth'])(
    'the adapter_config.json that a run of %s saved is read without a word',
    async (tool) => {
      const config = JSON.parse(readFileSync(new URL(`../fixtures/peft-configs/${tool}.json`, import.meta.url), 'utf8'))
      const linear = [...targetModules(base).keys()].filter((path) => path.startsWith('model.layers.'))
      const source = await read(peftFiles(peftTensors(base, linear, config.r), config))
      expect(source.notices).toEqual([])
      expect(new Set(source.modules.keys())).toEqual(new Set(linear))
      for (const { scale } of source.modules.values()) expect(scale).toBe(config.lora_alpha / config.r)
    },
  )

  test('a chat template beside a PEFT adapter travels with it, unless told not to', async () => {
    const files = (name: string, content: object | string) =>
      fileSet([...peftFiles(PAIR).values(), text(name, content)])
    const jinja = files('chat_template.jinja', '{{ messages[0].content }}')
    expect((await read(jinja)).metadata.chatTemplate).toBe('{{ messages[0].content }}')
    expect((await read(jinja, { ignoreChatTemplate: true })).metadata.chatTemplate).toBeUndefined()
    const named = [
      { name: 'rag', template: 'no' },
      { name: 'default', template: 'yes' },
    ]
    expect((await read(files('tokenizer_config.json', { chat_template: named }))).metadata.chatTemplate).toBe('yes')
    const alpaca = { prompt_input: '{instruction}{input}', prompt_no_input: '{instruction}', response_split: '' }
    expect((await read(files('alpaca.json', alpaca))).metadata).toMatchObject({ sourceFormat: 'alpaca-lora' })
  })

  test('a template in the folder above an adapter that has a name travels with it, one beside it before that', async () => {
    const [config, weights] = [...peftFiles(PAIR).values()]
    const inFolder = [config!, weights!].map((file) => ({ ...file, name: `sft/${file.name}` }))
    const above = [text('chat_template.jinja', '{{ messages[0].content }}'), text('tokenizer_config.json', {})]
    const templateOf = async (...files: AdapterFile[]) => (await read(fileSet(files))).metadata.chatTemplate
    expect(await templateOf(...inFolder, ...above)).toBe('{{ messages[0].content }}')
    expect(await templateOf(...inFolder, ...above, text('sft/chat_template.jinja', 'beside'))).toBe('beside')
    expect(await templateOf(...inFolder, text('dpo/chat_template.jinja', 'of another'))).toBeUndefined()
    const deeper = inFolder.map((file) => ({ ...file, name: `out/${file.name}` }))
    expect(await templateOf(...deeper, ...above)).toBeUndefined()
    expect(await templateOf(...deeper, text('out/chat_template.jinja', 'above'))).toBe('above')
  })

  test.each([
    '{{ bos_token }}{% for message in messages %}{{ message.content }}{{ eos_token }}{% endfor %}',
    '\n\n  {{ bos_token }} \n{{ eos_token }}\n\n',
    '  {%- macro end() %}{{ eos_token }}{% endmacro %}  {{ bos_token }}{{ end() }}',
    "{{ bos_token }}\r\n  {% if tools %}tools{% endif %}\r\n{% set eos_token = 'mine' %}{{ eos_token }}\n  ",
  ])(
    'a template writes the special tokens of the tokenizer beside it, and all else as before: %j',
    async (template) => {
      const [bos, eos] = ['<|begin "\\"|>', '<|eot_id|>']
      const tokens = { bos_token: { content: bos, lstrip: false }, eos_token: eos }
      const files = [...peftFiles(PAIR).values(), text('chat_template.jinja', template)]
      const { metadata, notices } = await read(fileSet([...files, text('tokenizer_config.json', tokens)]))
      const input = { messages: [{ role: 'user', content: 'Hi' }] }
      const rendered = new ChatTemplate(metadata.chatTemplate!).render({
        ...input,
        bos_token: '<s>',
        eos_token: '</s>',
      })
      expect(rendered).toBe(new ChatTemplate(template).render({ ...input, bos_token: bos, eos_token: eos }))
      expect(notices).toContainEqual(expect.stringContaining('own bos_token "<|begin'))
      for (const others of [{}, { bos_token: null, eos_token: 7 }]) {
        const kept = await read(fileSet([...files, text('tokenizer_config.json', others)]))
        expect(kept.metadata.chatTemplate).toBe(template)
      }
    },
  )

  test('a template that writes no special tokens travels as it is', async () => {
    const beside = [text('chat_template.jinja', 'as it is'), text('tokenizer_config.json', { eos_token: '<|eot_id|>' })]
    const { metadata } = await read(fileSet([...peftFiles(PAIR).values(), ...beside]))
    expect(metadata.chatTemplate).toBe('as it is')
  })

  test('a template of its own for tools travels with the other one, and each renders as it does alone', async () => {
    const [plain, tool] = ['\n  plain {{ eos_token }}\n   ', '{%- if tools %}\n tool {{ eos_token }}\n{%- endif %}\n']
    const named = [
      { name: 'tool_use', template: tool },
      { name: 'default', template: plain },
    ]
    const config = { chat_template: named, eos_token: '<|eot_id|>' }
    const inFiles = [text('chat_template.jinja', plain), text('additional_chat_templates/tool_use.jinja', tool)]
    const tools = [{ type: 'function', function: { name: 'look' } }] as const
    for (const beside of [
      [text('tokenizer_config.json', config)],
      [...inFiles, text('tokenizer_config.json', { eos_token: '<|eot_id|>' })],
    ]) {
      const { metadata } = await read(fileSet([...peftFiles(PAIR).values(), ...beside]))
      const input = { messages: [], bos_token: '', eos_token: '<|eot_id|>' }
      const both = new ChatTemplate(metadata.chatTemplate!)
      expect(both.render({ ...input, eos_token: '' })).toBe(new ChatTemplate(plain).render(input))
      expect(both.render({ ...input, eos_token: '', tools })).toBe(new ChatTemplate(tool).render({ ...input, tools }))
    }
  })

  test('tokens that the adapter’s tokenizer adds beyond the vocabulary are told, where the base is known', async () => {
    const added = { 0: { content: '<s>' }, [base.vocab_size]: { content: '[PAD]' } }
    const config = text('tokenizer_config.json', { added_tokens_decoder: added })
    const files = fileSet([...peftFiles([...layerOf(0), ...layerOf(1)]).values(), config])
    expect((await read(files)).notices).toEqual([expect.stringMatching(/adds "\[PAD\]" beyond the vocabulary of/)])
    const unknown = { ...base, fingerprint: UNKNOWN_FINGERPRINT, vocab_size: 1 }
    expect((await read(files, { base: unknown })).notices).toEqual([])
  })

  test('mistral-finetune and loralib take what is missing from options', async () => {
    const lora = fileSet([directoryFiles(`${FORMATS}/mistral-finetune`).get('lora.safetensors')!])
    expect((await read(lora, { scaling: 2 })).modules.get(Q)).toMatchObject({ scale: 2 })
    const pt = fileSet([directoryFiles(`${FORMATS}/loralib-linear`).get('adapter.pt')!])
    expect((await read(pt, { alpha: 16 })).modules.get(Q)).toMatchObject({ scale: 4 })
  })

  test('loralib: the causal masks of its GPT-2 example are left out', async () => {
    const tensors = [
      { name: `${Q}.lora_A`, shape: [2, 32] },
      { name: `${Q}.lora_B`, shape: [32, 2] },
      { name: 'model.layers.0.attn.bias', shape: [1, 1, 8, 8] },
    ]
    const source = await read(tensorFiles('x.safetensors', tensors, text('lora.json', { r: 2, lora_alpha: 8 })))
    expect(source.modules.get(Q)).toMatchObject({ scale: 4 })
    expect(source.notices).toContainEqual(expect.stringContaining('causal masks'))
  })

  test('an option that contradicts the files is refused, and where a scale came from is told', async () => {
    const pt = directoryFiles(`${FORMATS}/loralib-linear`)
    expect((await read(pt)).notices).toContain('lora_alpha 32 is from lora.json.')
    expect((await read(pt, { alpha: 32 })).modules.get(Q)).toMatchObject({ scale: 8 })
    expect((await refusal(pt, { alpha: 16 })).message).toMatch(/^lora\.json: lora_alpha is 32 but --alpha is 16;/)
    const mistral = directoryFiles(`${FORMATS}/mistral-finetune`)
    expect((await refusal(mistral, { scaling: 3 })).message).toMatch(
      /^params\.json: lora\.scaling is 2 but --scaling is 3;/,
    )
    const mlx = directoryFiles(`${FORMATS}/mlx`)
    expect((await refusal(mlx, { scaling: 3 })).message).toMatch(/lora_parameters\.scale is .* but --scaling is 3;/)
  })

  test('loralib: JSON that lies beside it and means something else is passed over', async () => {
    const pt = directoryFiles(`${FORMATS}/loralib-linear`).get('adapter.pt')!
    const beside = [text('a.json', '{broken'), text('b.json', { alpha: 'high' }), text('c.json', [1])]
    expect(await refusal(fileSet([pt, ...beside]))).toMatchObject({ code: 'missing' })
    const source = await read(fileSet([pt, ...beside, text('lora.json', { lora_alpha: 32 })]))
    expect(source.modules.get(Q)).toMatchObject({ scale: 8 })
  })

  test('loralib: a side file that says another rank is told so', async () => {
    const pt = directoryFiles(`${FORMATS}/loralib-linear`).get('adapter.pt')!
    const source = await read(fileSet([pt, text('lora.json', { r: 16, lora_alpha: 32 })]))
    expect(source.notices).toContainEqual(expect.stringContaining('says r 16 where the tensors have rank 4'))
    expect(source.modules.get(Q)).toMatchObject({ scale: 8 })
  })

  test('a delta that is already canonical is taken as it is', async () => {
    const bytes = encodeDelta(await loadDelta(await read(peftFiles(PAIR))), base)
    const again = await read(fileSet([memoryFile('delta.safetensors', bytes)]))
    expect(encodeDelta(await loadDelta(again), base)).toEqual(bytes)
  })

  test('what was converted beside the configuration that it was made of is not scaled by it again', async () => {
    const beside = [
      peftFiles(PAIR).get('adapter_config.json')!,
      text('adapter_config.json', { fine_tune_type: 'lora', lora_parameters: { rank: 2, scale: 20 } }),
    ]
    const bytes = encodeDelta(await loadDelta(await read(peftFiles(PAIR))), base)
    const gguf = directoryFiles(`${FORMATS}/gguf-f32`).values().next().value!
    const converted = encodeDelta(await loadDelta(await read(fileSet([gguf]))), base)
    for (const config of beside) {
      const again = await read(fileSet([memoryFile('delta.safetensors', bytes), config]))
      expect(encodeDelta(await loadDelta(again), base)).toEqual(bytes)
      const source = await read(fileSet([gguf, config]))
      expect(encodeDelta(await loadDelta(source), base)).toEqual(converted)
    }
  })
})
