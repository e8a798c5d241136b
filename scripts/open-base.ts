// The base model that --base names, as adapters are compared with it: a folder or a .gguf file, no server.
import { join, resolve } from 'node:path'
import type { BaseModel } from '../adapters/base-model.ts'
import { modelNameOf } from '../gpu-backend/config.ts'
import { identify } from '../gpu-backend/model/identify.ts'
import { openModelSource } from '../gpu-backend/model/open-model.ts'
import type { Arguments, Option } from './command.ts'
import { USER_CACHE } from './user-cache.ts'

/** Hashes of weight files, kept from one run to the next: not where others write, whose hashes would be believed. */
const CACHE = join(USER_CACHE, 'base-models')

export const BASE_OPTIONS: Readonly<Record<string, Option>> = {
  base: { type: 'string', value: 'DIR', help: 'the base model: a folder in Hugging Face layout or a .gguf file' },
  'base-name': {
    type: 'string',
    value: 'NAME',
    help: "the base model's name, as it is served (default: its folder's)",
  },
}

/** Identity and sizes of the model at `path`. Throws StartupError naming the file or field at fault. */
export async function openBase(path: string, args: Arguments): Promise<BaseModel> {
  return identify(await openModelSource(path), args.text('base-name') ?? modelNameOf(resolve(path)), CACHE)
}
