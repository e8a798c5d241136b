import { describe, expect, test } from 'vitest'
import { mergeExpositions } from '../../../../gpu-backend/engine/vllm/exposition.ts'

const ONE = `# HELP python_info Python platform information
# TYPE python_info gauge
python_info{version="3.12"} 1.0
# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="base"} 3.0
# HELP vllm:prompt_tokens_total Number of prefill tokens processed.
# TYPE vllm:prompt_tokens_total counter
vllm:prompt_tokens_total 7.0
`

describe("vLLM's figures", () => {
  test('are its own only, each sample labelled with its server', () => {
    expect(mergeExpositions([{ replica: 'gpu-1:8000', text: ONE }])).toBe(
      `# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{replica="gpu-1:8000",engine="0",model_name="base"} 3.0
# HELP vllm:prompt_tokens_total Number of prefill tokens processed.
# TYPE vllm:prompt_tokens_total counter
vllm:prompt_tokens_total{replica="gpu-1:8000"} 7.0
`,
    )
  })

  test('of several servers stand together by name, explained once', () => {
    const merged = mergeExpositions([
      { replica: 'a', text: ONE },
      { replica: 'b', text: ONE.replace('3.0', '5.0') },
      { replica: 'lost', text: '' },
    ])
    expect(merged.match(/# TYPE vllm:num_requests_running/g)).toHaveLength(1)
    const lines = merged.split('\n')
    const first = lines.findIndex((line) => line.includes('replica="a"'))
    expect(lines[first + 1]).toBe('vllm:num_requests_running{replica="b",engine="0",model_name="base"} 5.0')
  })

  test('of no server are nothing', () => {
    expect(mergeExpositions([])).toBe('')
  })
})
