// Where vLLM's build for CPUs is installed, for the benchmark and the tests: outside the repository, once for this user.
import { homedir } from 'node:os'
import { join } from 'node:path'

export const VLLM_DIR = join(homedir(), '.cache/polylora/vllm')
export const VLLM_COMMAND = join(VLLM_DIR, 'bin/vllm')
