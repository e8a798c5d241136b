// Where a command's adapter comes from: a folder, a file, or a repository of the Hugging Face Hub.
import type { FileSet } from '../adapters/file-set.ts'
import type { Terminal } from './command.ts'
import { openAdapterPath } from './directory-files.ts'
import { hubFromEnvironment } from './hub/hub.ts'
import { isHubId, openHubAdapter } from './hub/hub-adapter.ts'

/** Throws CliError when there is nothing there. */
export async function openAdapter(operand: string, terminal: Terminal): Promise<FileSet> {
  return isHubId(operand)
    ? openHubAdapter(operand, hubFromEnvironment(terminal.env, operand))
    : openAdapterPath(operand)
}
