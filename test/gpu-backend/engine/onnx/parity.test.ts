// How far the devices are from each other and from torch: the largest difference of any logit of a prompt, in f32, with
// and without a delta over attention, MLP, embeddings and head. The goldens are made by scripts/golden/architectures.py.
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { decodeDelta, encodeDelta } from '../../../../adapters/canonical.ts'
import { loadDelta } from '../../../../adapters/delta-source.ts'
import { importAdapter } from '../../../../adapters/import-adapter.ts'
import { graphPath } from '../../../../gpu-backend/engine/onnx/built-graph.ts'
import type { Device } from '../../../../gpu-backend/engine/onnx/ort.ts'
import { Runner } from '../../../../gpu-backend/engine/onnx/runner.ts'
import { identify } from '../../../../gpu-backend/model/identify.ts'
import { floatTypeOf, type WeightFormat } from '../../../../gpu-backend/model/weight-formats.ts'
import { type PackedDelta, packDelta, viewPacked } from '../../../../gpu-backend/residency/packed-delta.ts'
import { ARCHITECTURES, goldenLogits, goldens, openGolden } from '../../../support/architecture-goldens.ts'
import { directoryFiles } from '../../../support/directory-files.ts'
import { useSoftwareVulkan } from '../../../support/software-vulkan.ts'
import { temporaryDir } from '../../../support/temporary-dir.ts'

const CONTEXT = 64
/** What WebGPU is given at a time. */
const CHUNK = 16
/** Logits of the golden models are about 1. */
const TOLERANCE = 1e-4
/** The same where everything has 16 bits, 2^13 times as coarse. */
const HALF_TOLERANCE = 0.15
const MINUTES = 60_000

const cache = temporaryDir()
const { prompt, adapters } = goldens()
const torch = await goldenLogits()
const devices: Device[] = useSoftwareVulkan() ? ['cpu', 'webgpu'] : ['cpu']
if (devices.length === 1) console.warn('No Vulkan driver: parity is that of the CPU and torch alone.')

/** Logits of the prompt, bare and with the model's adapter, [tokens, vocab] each. */
async function logitsOn(
  device: Device,
  name: string,
  format: WeightFormat = 'f32',
): Promise<{ bare: Float32Array; adapted: Float32Array }> {
  const source = await openGolden(name, join(cache, device, format))
  const { config } = source
  const base = await identify(source, name, cache)
  const path = await graphPath(source, base.fingerprint, { format, target: device, positions: CONTEXT }, cache)
  const runner = new Runner({
    floatType: floatTypeOf(format),
    graphPath: path,
    config,
    device,
    threads: 1,
    maxRows: 1,
    contextTokens: CONTEXT,
  })
  await runner.loadVariants()
  try {
    const imported = await importAdapter(directoryFiles(join(ARCHITECTURES, `${name}-adapter`)), { base })
    const delta = decodeDelta(encodeDelta(await loadDelta(imported), base), base)
    const { shape, values } = packDelta('sha256:golden', delta, runner.groups, base)
    const packed = viewPacked('sha256:golden', shape, runner.groups, base, values)
    const logits = (change: PackedDelta | null) => {
      const all = new Float32Array(prompt.length * config.vocabSize)
      for (let past = 0; past < prompt.length; past += CHUNK) {
        const tokens = prompt.slice(past, past + CHUNK)
        all.set(runner.prefill(0, tokens, past, change, [...tokens.keys()]).logits, past * config.vocabSize)
      }
      return all
    }
    return { bare: logits(null), adapted: logits(packed) }
  } finally {
    runner.release()
  }
}

/** Of two lists of logits. */
function largestDifference(x: Float32Array, y: Float32Array): number {
  // Not Math.max: it would swallow NaN.
  return x.reduce((most, value, i) => (Math.abs(value - y[i]!) <= most ? most : Math.abs(value - y[i]!)), 0)
}

test.each(adapters)(
  '%s: every device gives the logits of torch, with and without an adapter',
  async (name) => {
    const found = new Map<string, { bare: Float32Array; adapted: Float32Array }>()
    found.set('torch', { bare: torch.get(name)!, adapted: torch.get(`${name}-adapter`)! })
    for (const device of devices) found.set(device, await logitsOn(device, name))
    const names = [...found.keys()]
    for (const [i, one] of names.entries()) {
      for (const other of names.slice(i + 1)) {
        const [x, y] = [found.get(one)!, found.get(other)!]
        const [bare, adapted] = [largestDifference(x.bare, y.bare), largestDifference(x.adapted, y.adapted)]
        console.log(`${name}, ${one} - ${other}: ${bare.toExponential(1)} bare, ${adapted.toExponential(1)} adapted`)
        expect(Math.max(bare, adapted)).toBeLessThan(TOLERANCE)
      }
    }
  },
  10 * MINUTES,
)

// On the CPU ONNX Runtime computes most of such a graph in f32 between roundings: what it shows is that the graph is right.
test.each(adapters)('%s: in 16-bit floats the logits are those of torch but for the rounding', async (name) => {
  const { bare, adapted } = await logitsOn('cpu', name, 'f16')
  const differences = [
    largestDifference(bare, torch.get(name)!),
    largestDifference(adapted, torch.get(`${name}-adapter`)!),
  ]
  console.log(
    `${name}, f16 - torch: ${differences.map((difference) => difference.toExponential(1)).join(' bare, ')} adapted`,
  )
  for (const difference of differences) {
    expect(difference).toBeGreaterThan(TOLERANCE)
    expect(difference).toBeLessThan(HALF_TOLERANCE)
  }
})
