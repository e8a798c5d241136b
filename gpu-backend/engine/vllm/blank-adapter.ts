// A PEFT directory that changes nothing, for asking a vLLM server what it takes.
// Knows no server. Invariant: several servers may be loading it from under one path, so it is never written to again: a file
// that shrinks while a server has it mapped ends that server.
import { existsSync } from 'node:fs'
import { type BaseModel, targetModules, targetName } from '../../../adapters/base-model.ts'
import { tensorNames } from '../../../adapters/canonical.ts'
import { type TensorShape, writeHeader } from '../../../adapters/safetensors.ts'
import { writePeftDirectory } from './peft-directory.ts'

/** Makes `path` where it is not there yet: A (`[rank, in]`) and B (`[out, rank]`) of `module` are zero, in f16. */
export async function blankAdapter(path: string, base: BaseModel, module: string, rank: number): Promise<void> {
  if (existsSync(path)) return
  const target = targetModules(base).get(module)!
  const [a, b] = tensorNames(module)
  const tensors: TensorShape[] = [
    { name: a, dtype: 'F16', shape: [rank, target.in] },
    { name: b, dtype: 'F16', shape: [target.out, rank] },
  ]
  const values = new Uint8Array(2 * rank * (target.in + target.out))
  const config = { peft_type: 'LORA', r: rank, lora_alpha: rank, target_modules: [targetName(module)] }
  const weights = Buffer.concat([writeHeader(tensors, new Map([['format', 'pt']])), values])
  // Another may make the same meanwhile: either one is right.
  await writePeftDirectory(path, weights, JSON.stringify(config)).catch((error: NodeJS.ErrnoException) => {
    if (!existsSync(path)) throw error
  })
}
