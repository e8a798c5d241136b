import { expect, test } from 'vitest'
import { parseStartOptions } from '../../../scripts/start/options.ts'

test.each([[['--port', '5']], [['--port=5']], [['--host', '0.0.0.0']]])(
  'the backend is not told to listen where nobody would ask for it: %j',
  (address) => {
    const [option] = address
    expect(() => parseStartOptions(['--', ...address], '/')).toThrow(
      `${option} cannot follow --: the backend listens on this machine, at --backend-port.`,
    )
  },
)

test('other options of the backend are passed on, and so is what follows them for vLLM', () => {
  const backendOptions = ['--max-batch', '4', '--', '--port', '5']
  expect(parseStartOptions(['--', ...backendOptions], '/')).toMatchObject({ backendOptions })
})

test('a model is looked for where npm start was called, the state stays with the repository', () => {
  const options = parseStartOptions(['--model', 'models/tiny', '--state', 'other'], '/home/me')
  expect(options).toMatchObject({ model: '/home/me/models/tiny', state: 'other' })
  expect(parseStartOptions(['--model', '/models/tiny'], '/home/me')).toMatchObject({ model: '/models/tiny' })
  expect(parseStartOptions([], '/home/me')).toMatchObject({ model: undefined })
})
