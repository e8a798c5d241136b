// Finds a Vulkan driver for the WebGPU device: the one that VK_DRIVER_FILES names, or SwiftShader from Debian's chromium.
import { existsSync } from 'node:fs'
import { tmpdir } from 'node:os'

const CHROMIUM_DRIVER = '/usr/lib/chromium/vk_swiftshader_icd.json'

/** Sets what Dawn and the Vulkan loader read; false where there is no driver. Call it before an engine starts. */
export function useSoftwareVulkan(): boolean {
  const driver = process.env.VK_DRIVER_FILES ?? CHROMIUM_DRIVER
  if (!existsSync(driver)) return false
  process.env.VK_DRIVER_FILES = driver
  process.env.VK_ICD_FILENAMES = driver
  process.env.XDG_RUNTIME_DIR ??= tmpdir()
  return true
}
