import { describe, expect, test } from 'vitest'
import { targetModules } from '../../adapters/base-model.ts'
import { checkDeltaHeader, decodeDelta, encodeDelta } from '../../adapters/canonical.ts'
import type { Delta, DeltaModule } from '../../adapters/delta.ts'
import { digestOf } from '../../adapters/digest.ts'
import { AdapterError } from '../../adapters/errors.ts'
import { headerEnd } from '../../adapters/safetensors.ts'
import { tinyBase } from '../support/tiny-base.ts'

const base = tinyBase('gqa')

/** A delta of the given modules with values that are exact in f16. */
function delta(paths: readonly string[], rank = 2): Delta {
  const modules = new Map<string, DeltaModule>()
  for (const path of paths) {
    const { in: columns, out } = targetModules(base).get(path)!
    const a = Float32Array.from({ length: rank * columns }, (_, i) => (i % 7) / 4)
    const b = Float32Array.from({ length: out * rank }, (_, i) => (i % 5) / 8 - 0.25)
    modules.set(path, { rank, in: columns, out, a, b })
  }
  return { metadata: { base: base.fingerprint, sourceFormat: 'test' }, modules }
}

const ALL = [...targetModules(base).keys()]

function refusal(action: () => unknown): AdapterError {
  try {
    action()
  } catch (error) {
    if (error instanceof AdapterError) return error
    throw error
  }
  throw new Error('was accepted')
}

describe('the canonical file', () => {
  test.each(['f32', 'f16'] as const)('holds every module in %s and gives the same values back', (dtype) => {
    const original = delta(ALL)
    const decoded = decodeDelta(encodeDelta(original, base, dtype), base)
    expect(new Set(decoded.modules.keys())).toEqual(new Set(ALL))
    for (const [path, module] of original.modules) {
      expect(Array.from(decoded.modules.get(path)!.a)).toEqual(Array.from(module.a))
      expect(Array.from(decoded.modules.get(path)!.b)).toEqual(Array.from(module.b))
    }
    expect(decoded.metadata).toEqual(original.metadata)
  })

  test('is the same whatever the order of the modules', async () => {
    const forwards = encodeDelta(delta(ALL), base)
    const backwards = encodeDelta(delta(ALL.toReversed()), base)
    expect(await digestOf(backwards)).toBe(await digestOf(forwards))
  })

  test('is decoded without copying the tensors when it is aligned', () => {
    const bytes = encodeDelta(delta(ALL), base)
    for (const module of decodeDelta(bytes, base).modules.values()) {
      expect(module.a.buffer).toBe(bytes.buffer)
      expect(module.b.buffer).toBe(bytes.buffer)
    }
  })

  test('is decoded from an unaligned buffer as well', () => {
    const bytes = encodeDelta(delta(ALL), base)
    const shifted = new Uint8Array(bytes.byteLength + 1)
    shifted.set(bytes, 1)
    const decoded = decodeDelta(shifted.subarray(1), base)
    expect(Array.from(decoded.modules.get(ALL[0]!)!.a)).toEqual(Array.from(delta(ALL).modules.get(ALL[0]!)!.a))
  })

  test('is checked by its header alone, before the tensors arrive', () => {
    const bytes = encodeDelta(delta(ALL, 3), base, 'f16')
    const header = checkDeltaHeader(bytes.subarray(0, headerEnd(bytes.subarray(0, 8), 'x')), bytes.byteLength, base)
    expect(header).toMatchObject({ dtype: 'f16', rank: 3 })
    expect(header.modules.size).toBe(ALL.length)
  })

  test('carries a chat template', () => {
    const original = delta(ALL)
    const metadata = { ...original.metadata, chatTemplate: "{{ messages[0].content }}é\n'" }
    expect(decodeDelta(encodeDelta({ ...original, metadata }, base), base).metadata).toEqual(metadata)
  })

  test('is refused when its strings are beyond any use', () => {
    const original = delta([ALL[0]!])
    const encode = (metadata: Partial<Delta['metadata']>) =>
      encodeDelta({ ...original, metadata: { ...original.metadata, ...metadata } }, base)
    for (const bytes of [encode({ chatTemplate: 'x'.repeat(200_001) }), encode({ sourceFormat: 'x'.repeat(300) })]) {
      expect(refusal(() => decodeDelta(bytes, base)).code).toBe('too_large')
    }
  })

  test('is refused for another base, by name', () => {
    const bytes = encodeDelta(delta(ALL), base)
    expect(refusal(() => decodeDelta(bytes, tinyBase('mha')))).toMatchObject({ code: 'mismatch' })
  })

  test('is refused when truncated, extended or not in canonical form', () => {
    const bytes = encodeDelta(delta(ALL), base)
    const longer = new Uint8Array(bytes.byteLength + 4)
    longer.set(bytes)
    const spaced = bytes.slice()
    const text = new TextDecoder().decode(bytes.subarray(8, headerEnd(bytes, 'x')))
    spaced.set(new TextEncoder().encode(text.replace('"version":"1"', '"version":"2"')), 8)
    expect(refusal(() => decodeDelta(bytes.subarray(0, -4), base)).message).toContain('truncated')
    expect(refusal(() => decodeDelta(longer, base)).message).toContain('bytes follow the last tensor')
    expect(refusal(() => decodeDelta(spaced, base)).code).toBe('unsupported')
  })

  test('is refused when its metadata does not follow from its tensors', () => {
    const bytes = encodeDelta(delta(ALL), base)
    const text = new TextDecoder().decode(bytes.subarray(8, headerEnd(bytes, 'x')))
    bytes.set(new TextEncoder().encode(text.replace('"rank":"2"', '"rank":"9"')), 8)
    expect(refusal(() => decodeDelta(bytes, base)).message).toContain('not in canonical form')
  })

  test.each([Number.NaN, Number.POSITIVE_INFINITY])('never holds %s', (value) => {
    const broken = delta([ALL[0]!])
    const bytes = encodeDelta(broken, base)
    broken.modules.get(ALL[0]!)!.b[3] = value
    expect(refusal(() => encodeDelta(broken, base)).message).toContain('not finite')
    new DataView(bytes.buffer).setFloat32(bytes.byteLength - 4, value, true)
    expect(refusal(() => decodeDelta(bytes, base)).message).toContain('not finite')
  })

  test('refuses f16 where a value overflows, and names f32 as the way out', () => {
    const large = delta([ALL[0]!])
    large.modules.get(ALL[0]!)!.b[0] = 1e6
    expect(refusal(() => encodeDelta(large, base, 'f16')).message).toContain('--dtype f32')
  })
})
