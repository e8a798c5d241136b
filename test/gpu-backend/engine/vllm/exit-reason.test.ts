import { describe, expect, test } from 'vitest'
import { exitReason } from '../../../../gpu-backend/engine/vllm/exit-reason.ts'

describe('why a vLLM server has ended', () => {
  test('is the first exception of its processes, without what stands before it in the log', () => {
    const lines = [
      '(APIServer pid=1) WARNING 11-24 17:07:16 [system_utils.py:255] This can cause errors like `OSError: [Errno 24]`.',
      '(EngineCore pid=2) ERROR 11-24 17:07:41 [core.py:1510] Traceback (most recent call last):',
      '(EngineCore pid=2) ERROR 11-24 17:07:41 [core.py:1510]     raise ValueError(',
      '(EngineCore pid=2) ERROR 11-24 17:07:41 [core.py:1510] ValueError: No available memory for the cache blocks.',
      '(APIServer pid=1) Traceback (most recent call last):',
      'RuntimeError: Engine core initialization failed. See root cause above.',
      '  warnings.warn(',
    ]
    expect(exitReason(lines)).toBe('ValueError: No available memory for the cache blocks')
  })

  test('goes on in the next line where that is indented', () => {
    const lines = [
      'pydantic_core.ValidationError: 1 validation error for ModelConfig',
      '  Value error, max_model_len is too large',
      'x',
    ]
    expect(exitReason(lines)).toBe(
      'pydantic_core.ValidationError: 1 validation error for ModelConfig | Value error, max_model_len is too large',
    )
  })

  test('is what its command line refuses', () => {
    expect(exitReason(['usage: vllm [-h]', 'vllm: error: unrecognized arguments: --bogus'])).toBe(
      'vllm: error: unrecognized arguments: --bogus',
    )
  })

  test('is its last lines where it names none, and that there are none where there are none', () => {
    expect(exitReason(['1', '2', '', '3', '4', '5', 'Killed.'])).toBe('2 | 3 | 4 | 5 | Killed')
    expect(exitReason([])).toBe('it said nothing')
  })

  test('is never longer than can be read', () => {
    expect(exitReason([`ValueError: ${'x'.repeat(10_000)}`]).length).toBeLessThan(1000)
  })
})
