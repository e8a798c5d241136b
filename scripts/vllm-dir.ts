// Where vLLM's build for CPUs is installed, for the benchmark and the tests: outside the repository, once for this user.
import { join } from 'node:path'
import { USER_CACHE } from './user-cache.ts'

export const VLLM_DIR = join(USER_CACHE, 'vllm')
export const VLLM_COMMAND = join(VLLM_DIR, 'bin/vllm')
