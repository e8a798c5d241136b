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

/** From --alpha, --enable-lora, --scaling and --no-chat-template. Throws CliError. */
export function importFacts(args: Arguments): Omit<ImportOptions, 'base'> {
  const alpha = args.number('alpha')
  const scaling = args.number('scaling')
  const flags = args.text('enable-lora')
  return {
    ...(alpha === undefined ? {} : { alpha }),
    ...(scaling === undefined ? {} : { scaling }),
    ...(args.flag('no-chat-template') ? { ignoreChatTemplate: true } : {}),
    ...(flags === undefined ? {} : { enableLora: parseBooleans(flags) }),
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

/** From --dtype. Throws CliError. */
export function parseDtype(args: Arguments): DeltaDtype | undefined {
  const dtype = args.text('dtype')
  if (dtype !== undefined && dtype !== 'f16' && dtype !== 'f32')
    throw new CliError(`--dtype ${dtype} is not f16 or f32.`, 2)
  return dtype
}

/** From --shrink-rank. Throws CliError. */
export function parseShrinkRank(args: Arguments): number | undefined {
  return args.wholeNumber('shrink-rank', 1)
}
