// What the options say of an adapter, for every command that reads one: what its files lack, and how it is to be stored.
import type { DeltaDtype } from '../adapters/delta.ts'
import type { ImportOptions } from '../adapters/import-options.ts'
import { CliError } from './cli-error.ts'
import type { Arguments, Option } from './command.ts'

export const ADAPTER_OPTIONS: Readonly<Record<string, Option>> = {
  alpha: { type: 'string', value: 'N', help: 'loralib: lora_alpha, which its files do not hold' },
  'enable-lora': { type: 'string', value: 'LIST', help: "loralib's MergedLinear: such as true,false,true" },
  scaling: { type: 'string', value: 'X', help: 'mistral-finetune, MLX: the factor, where its params file is missing' },
  'no-chat-template': {
    type: 'boolean',
    help: "keep the base model's chat template, whatever lies beside the adapter",
  },
  'shrink-rank': { type: 'string', value: 'R', help: 'approximate ranks above R by R; the report says what it costs' },
  dtype: {
    type: 'string',
    value: 'f16|f32',
    help: 'type of the stored values (default f32; of a delta of ours its own)',
  },
}

/** As publishing asks for them: see PublishRequest. */
export interface AdapterOptions {
  readonly facts: Omit<ImportOptions, 'base'>
  readonly dtype: DeltaDtype | undefined
  readonly shrinkRank: number | undefined
}

/** Throws CliError (exit code 2). */
export function readAdapterOptions(args: Arguments): AdapterOptions {
  return { facts: readFacts(args), dtype: readDtype(args), shrinkRank: args.wholeNumber('shrink-rank', 1) }
}

function readFacts(args: Arguments): AdapterOptions['facts'] {
  const alpha = args.number('alpha')
  const scaling = args.number('scaling')
  const enableLora = args.text('enable-lora')
  return {
    ...(alpha === undefined ? {} : { alpha }),
    ...(scaling === undefined ? {} : { scaling }),
    ...(args.flag('no-chat-template') ? { ignoreChatTemplate: true } : {}),
    ...(enableLora === undefined ? {} : { enableLora: parseBooleans(enableLora) }),
  }
}

function parseBooleans(text: string): boolean[] {
  return text.split(',').map((part) => {
    const flag = part.trim().toLowerCase()
    if (flag !== 'true' && flag !== 'false')
      throw new CliError(`--enable-lora ${text} is not a list such as true,false,true.`, 2)
    return flag === 'true'
  })
}

function readDtype(args: Arguments): DeltaDtype | undefined {
  const dtype = args.text('dtype')
  if (dtype !== undefined && dtype !== 'f16' && dtype !== 'f32')
    throw new CliError(`--dtype ${dtype} is not f16 or f32.`, 2)
  return dtype
}
