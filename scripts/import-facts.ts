// What the command line's options say about an adapter's files, for every command that reads them.
import type { DeltaDtype } from '../adapters/delta.ts'
import type { ImportOptions } from '../adapters/import-options.ts'
import { CliError } from './cli-error.ts'
import type { Arguments } from './command.ts'

/** From --alpha, --enable-lora, --scaling and --no-chat-template. Throws CliError. */
export function importFacts(args: Arguments): Omit<ImportOptions, 'base'> {
  const alpha = args.number('alpha')
  const scaling = args.number('scaling')
  const flags = args.text('enable-lora')
  return {
    ...(alpha === undefined ? {} : { alpha }),
    ...(scaling === undefined ? {} : { scaling }),
    ...(args.flag('no-chat-template') ? { ignoreChatTemplate: true } : {}),
    ...(flags === undefined ? {} : { enableLora: parseFlags(flags) }),
  }
}

function parseFlags(text: string): boolean[] {
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
