import { describe, expect, test } from 'vitest'
import { serveArguments, vllmRank } from '../../../../gpu-backend/engine/vllm/serve-options.ts'
import { StartupError } from '../../../../gpu-backend/errors.ts'
import { expectOneSentence } from '../../../support/one-sentence.ts'

const OPTIONS = {
  modelPath: '/models/llama',
  contextTokens: 4096,
  maxBatch: 32,
  maxLoras: 8,
  maxCpuLoras: 100,
  maxRank: 24,
  dtype: undefined,
  kvCacheBytes: undefined,
  more: [],
}

describe('the command line of a vLLM server', () => {
  test('follows from our options, and says nothing of what is left to vLLM', () => {
    const args = serveArguments(OPTIONS)
    expect(args[0]).toBe('/models/llama')
    const valueAfter = (flag: string) => args[args.indexOf(flag) + 1]
    expect(valueAfter('--max-model-len')).toBe('4096')
    expect(valueAfter('--max-num-seqs')).toBe('32')
    expect(valueAfter('--max-loras')).toBe('8')
    expect(valueAfter('--max-cpu-loras')).toBe('100')
    expect(valueAfter('--structured-outputs-config.backend')).toBe('xgrammar')
    expect(args).toContain('--enable-lora')
    expect(args).not.toContain('--dtype')
    expect(args).not.toContain('--kv-cache-memory-bytes')
  })

  test('has a rank that vLLM knows, the next larger one', () => {
    expect(serveArguments(OPTIONS).join(' ')).toContain('--max-lora-rank 32')
    expect([1, 2, 8, 9, 200, 300, 512].map(vllmRank)).toEqual([1, 8, 8, 16, 256, 320, 512])
    expect(() => vllmRank(513)).toThrow(StartupError)
  })

  test('ends with what is given for vLLM itself', () => {
    const more = ['--tensor-parallel-size', '4', '--gpu-memory-utilization=0.85']
    expect(serveArguments({ ...OPTIONS, more }).slice(-3)).toEqual(more)
  })

  test.each(['--max-loras=3', '--host', '--api-key'])('refuses %s there, which is set by our own options', (flag) => {
    try {
      serveArguments({ ...OPTIONS, more: ['--tensor-parallel-size', '2', flag] })
      expect.unreachable()
    } catch (error) {
      if (!(error instanceof StartupError)) throw error
      expectOneSentence(error.message)
      expect(error.message).toContain(flag)
    }
  })
})
