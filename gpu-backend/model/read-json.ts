// Reads one of a model directory's JSON files. Knows nothing of what is in it.
import { existsSync, readFileSync } from 'node:fs'
import { StartupError } from '../errors.ts'

/** @throws StartupError when the file is missing or is not JSON */
export function readJson(file: string): unknown {
  if (!existsSync(file))
    throw new StartupError(`${file} is missing: the directory must be a model in Hugging Face layout.`)
  try {
    return JSON.parse(readFileSync(file, 'utf8'))
  } catch (error) {
    throw new StartupError(`${file} is not valid JSON (${(error as Error).message}): restore it.`)
  }
}
