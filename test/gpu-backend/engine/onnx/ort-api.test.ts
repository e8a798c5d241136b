import { existsSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { libraryPath, OrtError } from '../../../../gpu-backend/engine/onnx/ort-api.ts'

describe("ONNX Runtime's library", () => {
  // npm puts the files for every platform here, whichever this is.
  test.each([
    ['linux', 'x64'],
    ['linux', 'arm64'],
    ['darwin', 'arm64'],
    ['win32', 'x64'],
    ['win32', 'arm64'],
  ])('is where the package keeps it for %s on %s', (platform, arch) => {
    expect(existsSync(libraryPath(platform, arch))).toBe(true)
  })

  test.each([
    ['darwin', 'x64'],
    ['linux', 'riscv64'],
    ['freebsd', 'x64'],
  ])('is refused in one sentence where the package has none: %s on %s', (platform, arch) => {
    const refused = new OrtError(
      `onnxruntime-node has no library for ${platform} on ${arch}: use Linux on x64 or arm64, or a Mac with Apple Silicon.`,
    )
    expect(() => libraryPath(platform, arch)).toThrow(refused)
  })
})
