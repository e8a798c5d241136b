import { describe, expect, test } from 'vitest'
import { HELP, parseConfig } from '../../gpu-backend/config.ts'
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
    const derived = ['secret', 'modelName', 'weightFormat']
    for (const name of Object.keys(config).filter((key) => !derived.includes(key))) expect(HELP).toContain(`--${name} `)
  })

  test('do not change afterwards', () => {
    expect(Object.isFrozen(parseConfig([], env))).toBe(true)
  })
})
