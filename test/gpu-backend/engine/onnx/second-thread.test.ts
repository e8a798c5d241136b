import { afterAll, expect, test } from 'vitest'
import { floats } from '../../../../gpu-backend/engine/onnx/host-arrays.ts'
import { OnnxRuntime } from '../../../../gpu-backend/engine/onnx/ort.ts'
import { OrtError } from '../../../../gpu-backend/engine/onnx/ort-api.ts'
import { type GraphRun, SecondThread } from '../../../../gpu-backend/engine/onnx/second-thread.ts'
import { encodeModel } from '../../../../gpu-backend/model/onnx-file.ts'

const SIZE = 1000
const runtime = new OnnxRuntime()
const second = await SecondThread.start(runtime)
const session = runtime.createSession(
  encodeModel({
    nodes: [{ op: 'Mul', domain: '', inputs: ['x', 'x'], outputs: ['y'], attributes: {} }],
    inputs: [{ name: 'x', type: 'f32', dims: ['n'] }],
    outputs: [{ name: 'y', type: 'f32', dims: ['n'] }],
    initializers: [],
  }),
  'cpu',
  1,
)
afterAll(() => {
  second.close()
  session.release()
  runtime.release()
})

/** The squares of `x`, once it is run; what lacks an input fails. */
function squares(x: number, lacksInput = false): GraphRun & { readonly result: Float32Array } {
  const binding = session.createBinding()
  const [values, result] = [floats(SIZE).fill(x), floats(SIZE)]
  if (!lacksInput) binding.input('x', binding.hold(runtime.hostTensor(values, 'f32', [SIZE])))
  binding.output('y', binding.hold(runtime.hostTensor(result, 'f32', [SIZE])))
  return { session, binding, result }
}

test('two graphs are run at once, each with what it was bound to, over and over', () => {
  const [here, there] = [squares(3), squares(5)]
  for (let time = 0; time < 200; time++) {
    here.result.fill(0)
    there.result.fill(0)
    second.runBoth(here, there)
    expect([...new Set(here.result), ...new Set(there.result)]).toEqual([9, 25])
  }
})

test.each([
  ['the engine’s own thread', true, false],
  ['the second thread', false, true],
  ['both', true, true],
])('a graph that fails in %s is told of once both have ended, and the next ones run', (_, failsHere, failsThere) => {
  const [here, there] = [squares(3, failsHere), squares(5, failsThere)]
  expect(() => second.runBoth(here, there)).toThrow(OrtError)
  if (!failsHere) expect(here.result[0]).toBe(9)
  if (!failsThere) expect(there.result[0]).toBe(25)
  const [one, other] = [squares(2), squares(4)]
  second.runBoth(one, other)
  expect([one.result[0], other.result[0]]).toEqual([4, 16])
})
