// Whether a device can compute with 16-bit floats: found out by computing with some, since no provider says so beforehand.
import { encodeModel } from '../../model/onnx-file.ts'
import type { Device, OnnxRuntime } from './ort.ts'
import { OrtError } from './ort-api.ts'

/** @throws OrtError where it cannot */
export function checkHalfFloats(runtime: OnnxRuntime, device: Device): void {
  const tensor = { type: 'f16', dims: [2] } as const
  const probe = encodeModel({
    nodes: [{ op: 'Add', domain: '', inputs: ['x', 'x'], outputs: ['y'], attributes: {} }],
    inputs: [{ name: 'x', ...tensor }],
    outputs: [{ name: 'y', ...tensor }],
    initializers: [],
  })
  const session = runtime.createSession(probe, device, 1)
  const binding = session.createBinding()
  const sums = new Float16Array(2)
  try {
    binding.input('x', binding.hold(runtime.hostTensor(Float16Array.of(1, 2), 'f16', [2])))
    binding.output('y', binding.hold(runtime.hostTensor(sums, 'f16', [2])))
    session.run(binding)
    if (String(sums) !== '2,4') throw new OrtError(`1 + 1 and 2 + 2 are ${sums}`)
  } catch (error) {
    throw new OrtError(
      `The device "${device}" has no 16-bit floats (${(error as Error).message.split('\n')[0]}): choose --weights f32, int8 or int4.`,
    )
  } finally {
    binding.release()
    session.release()
  }
}
