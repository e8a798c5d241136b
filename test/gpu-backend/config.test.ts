import { describe, expect, test } from 'vitest'
import { HELP, parseConfig, usableMemory } from '../../gpu-backend/config.ts'
import { StartupError } from '../../gpu-backend/errors.ts'
import { expectOneSentence } from '../support/one-sentence.ts'

const env = { POLYLORA_BACKEND_SECRET: 's'.repeat(32) }

function refusal(args: readonly string[], environment: Record<string, string> = env): string {
  try {
    parseConfig(args, environment)
  } catch (error) {
    if (!(error instanceof StartupError)) throw error
    expectOneSentence(error.message)
    return error.message
  }
  throw new Error('was accepted')
}

describe("the backend's options", () => {
  test('need nothing but the secret', () => {
    expect(parseConfig([], env)).toMatchObject({
      host: '127.0.0.1',
      port: 8788,
      modelName: 'polylora-base',
      engine: 'onnx',
      device: 'cpu',
      weightFormat: 'f32',
    })
  })

  test('name another model after its directory and quantise it, unless told otherwise', () => {
    expect(parseConfig(['--model', '/models/small-llama/'], env)).toMatchObject({
      modelName: 'small-llama',
      weightFormat: 'int8',
    })
    const named = ['--model', '/m/x', '--served-model-name', 'llama', '--weights', 'int4']
    expect(parseConfig(named, env)).toMatchObject({ modelName: 'llama', weightFormat: 'int4' })
  })

  test.each([
    ['1000', 1000],
    ['2GB', 2e9],
    ['1.5 mb', 1.5e6],
    ['64kB', 64e3],
    ['0.5TB', 5e11],
  ])('read %s as a size', (text, bytes) => {
    expect(parseConfig(['--memory', text], env)?.memory).toBe(bytes)
  })

  test.each([
    ['--memory', 'lots'],
    ['--memory', '-1GB'],
    ['--memory', '1.2.3GB'],
    ['--disk', '4PB'],
    ['--max-adapter-size', ''],
    ['--port', 'http'],
    ['--port', '65536'],
    ['--port', '-1'],
    ['--port', '80.5'],
    ['--threads', '0'],
    ['--max-batch', '0'],
    ['--max-batch', '257'],
    ['--context', '0'],
    ['--device', 'tpu'],
    ['--weights', 'int2'],
    ['--engine', 'none'],
  ])('refuse %s %s in a sentence that names it', (flag, value) => {
    const message = refusal([`${flag}=${value}`])
    expect(message).toContain(`${flag} ${value}`)
    expect(message).toContain('--help')
  })

  test.each([[['--colour', 'red']], [['stray']], [['--port']], [['--port', '1', '--prot', '2']]])(
    'refuse %j',
    (args) => {
      expect(refusal(args)).toContain('--help')
    },
  )

  test("share out a container's memory, not that of the machine around it", () => {
    expect(usableMemory(64e9, 4e9)).toBe(4e9)
    // No limit: nothing is known of one, or it is larger than any machine.
    expect(usableMemory(64e9, 0)).toBe(64e9)
    expect(usableMemory(64e9, 2 ** 64)).toBe(64e9)
    expect(parseConfig([], env)?.memory).toBe(Math.floor(usableMemory() / 4))
  })

  test.each(['--host', '--model', '--served-model-name', '--data-dir'])('refuse an empty %s', (flag) => {
    expect(refusal([`${flag}=`])).toBe(`${flag} "": must not be empty. See --help.`)
  })

  test('name a flag, not its place in a list, and say one thing of a value that looks like a flag', () => {
    expect(refusal(['--engine', 'vllm', '--vllm-url', 'http://127.0.0.1:1', '--vllm-url', 'gpu-7'])).toContain(
      '--vllm-url gpu-7: ',
    )
    expect(refusal(['--max-queue', '-1'])).toContain('--max-queue')
  })

  test.each([{}, { POLYLORA_BACKEND_SECRET: '' }, { POLYLORA_BACKEND_SECRET: 'short-secret' }])(
    'refuse a missing or short secret without repeating it',
    (environment) => {
      const message = refusal([], environment as Record<string, string>)
      expect(message).toContain('POLYLORA_BACKEND_SECRET')
      expect(message).not.toContain('short-secret')
    },
  )

  test('answer --help, in which every flag is explained, before they check anything', () => {
    expect(parseConfig(['--help'], {})).toBeUndefined()
    expect(parseConfig(['-h', '--port', 'x'], {})).toBeUndefined()
    const config = parseConfig([], env)!
    const derived = ['secret', 'modelName', 'weightFormat', 'maxRank', 'vllmApiKey', 'vllmArguments']
    for (const name of Object.keys(config).filter((key) => !derived.includes(key))) expect(HELP).toContain(`--${name} `)
  })

  test('choose the weights that the device computes with', () => {
    expect(parseConfig([], env)?.weightFormat).toBe('f32')
    expect(parseConfig(['--model', '/models/llama'], env)?.weightFormat).toBe('int8')
    expect(parseConfig(['--model', '/models/llama', '--device', 'cuda'], env)?.weightFormat).toBe('f16')
  })

  test('for vLLM leave the weights to it, and pass on what follows --', () => {
    const config = parseConfig(['--engine', 'vllm', '--', '--tensor-parallel-size', '2'], env)
    expect(config).toMatchObject({ engine: 'vllm', weightFormat: undefined, 'vllm-url': [] })
    expect(config?.vllmArguments).toEqual(['--tensor-parallel-size', '2'])
    expect(parseConfig(['--engine', 'vllm', '--weights', 'bf16'], env)?.weightFormat).toBe('bf16')
  })

  test('take several servers of this machine, and others only with a key', () => {
    const urls = ['http://127.0.0.1:8000', 'http://localhost:8001', 'http://[::1]:8002']
    const flags = ['--engine', 'vllm', ...urls.flatMap((url) => ['--vllm-url', url])]
    expect(parseConfig(flags, env)?.['vllm-url']).toEqual(urls)
    const far = [...flags, '--vllm-url', 'http://gpu-7:8000']
    const message = refusal(far)
    expect(message).toContain('http://gpu-7:8000')
    expect(message).toContain('POLYLORA_VLLM_API_KEY')
    expect(parseConfig(far, { ...env, POLYLORA_VLLM_API_KEY: 'k' })?.vllmApiKey).toBe('k')
    expect(refusal(['--vllm-url', 'gpu-7'])).toContain('--vllm-url')
  })

  test.each([
    [['--vllm-url', 'http://127.0.0.1:8000'], '--vllm-url'],
    [['--max-loras', '4'], '--max-loras'],
    [['--', '--enforce-eager'], '--'],
    [['--engine', 'vllm', '--vllm-url', 'http://127.0.0.1:8000', '--vllm-command', 'vllm'], '--vllm-command'],
    [['--engine', 'vllm', '--vllm-url', 'http://127.0.0.1:8000', '--', '--enforce-eager'], '--'],
  ])('refuse %j, of which one would have no effect', (args, named) => {
    const message = refusal(args)
    expect(message).toContain(named)
    expect(message).toMatch(/has an effect with .* only/)
  })

  test.each([
    [['--engine', 'vllm', '--weights', 'int4'], '--weights int4'],
    [['--engine', 'vllm', '--device', 'webgpu'], '--device webgpu'],
    [['--engine', 'vllm', '--device', 'cuda', '--weights', 'f32'], '--weights f32'],
    [['--device', 'cuda', '--weights', 'int8'], '--weights int8'],
    [['--weights', 'bf16'], '--weights bf16'],
  ])('refuse %j, which the engine does not take', (args, named) => {
    expect(refusal(args)).toContain(named)
  })

  test('do not change afterwards', () => {
    expect(Object.isFrozen(parseConfig([], env))).toBe(true)
  })
})
