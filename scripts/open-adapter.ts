// Where a command's adapter comes from: a folder, a file, or a repository of the Hugging Face hub.
import type { FileSet } from '../adapters/file-set.ts'
import type { Terminal } from './command.ts'
import { openAdapterPath } from './directory-files.ts'
import { hubFrom, isHubId, openHub } from './hub.ts'

/** Throws CliError when there is nothing there. */
export function openAdapter(operand: string, terminal: Terminal): Promise<FileSet> {
  return isHubId(operand) ? openHub(operand, hubFrom(terminal.env)) : openAdapterPath(operand)
}
