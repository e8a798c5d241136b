import { describe, expect, test } from 'vitest'
import { parseModelConfig } from '../../../gpu-backend/model/model-config.ts'
import { ropeTables } from '../../../gpu-backend/model/rope.ts'

const HEAD_DIM = 16
const HALF = HEAD_DIM / 2
const POSITIONS = 5

const CONFIG = {
  model_type: 'llama',
  vocab_size: 100,
  hidden_size: 64,
  num_hidden_layers: 1,
  num_attention_heads: 4,
  intermediate_size: 96,
  max_position_embeddings: 4096,
  rope_theta: 10_000,
}

function tables(scaling?: Record<string, unknown>) {
  const config = { ...CONFIG, ...(scaling ? { rope_scaling: scaling } : {}) }
  return ropeTables(parseModelConfig(config, 'config.json'), POSITIONS)
}

/** The angle's frequency of each pair, from position 1. */
function frequencies(scaling?: Record<string, unknown>): number[] {
  const { cos, sin } = tables(scaling)
  return Array.from({ length: HALF }, (_, i) => Math.atan2(sin[HALF + i]!, cos[HALF + i]!))
}

const PLAIN = Array.from({ length: HALF }, (_, i) => 10_000 ** (-(2 * i) / HEAD_DIM))

describe('rotary position tables', () => {
  test('turn nothing at position 0 and pair i by position / theta^(2i/d)', () => {
    const { cos, sin } = tables()
    expect(cos).toHaveLength(POSITIONS * HALF)
    expect(Array.from(cos.subarray(0, HALF))).toEqual(new Array(HALF).fill(1))
    expect(Array.from(sin.subarray(0, HALF))).toEqual(new Array(HALF).fill(0))
    for (const [i, frequency] of PLAIN.entries()) {
      expect(cos[3 * HALF + i]).toBeCloseTo(Math.cos(3 * frequency), 6)
      expect(sin[3 * HALF + i]).toBeCloseTo(Math.sin(3 * frequency), 6)
    }
  })

  test('multiply by a size what they turn', () => {
    const config = parseModelConfig(CONFIG, 'config.json')
    const [plain, sized] = [ropeTables(config, POSITIONS), ropeTables(config, POSITIONS, 0.5)]
    expect(Array.from(sized.cos)).toEqual(Array.from(plain.cos, (value) => value / 2))
    expect(Array.from(sized.sin)).toEqual(Array.from(plain.sin, (value) => value / 2))
  })

  test('linear scaling divides every frequency', () => {
    for (const [i, frequency] of frequencies({ rope_type: 'linear', factor: 4 }).entries()) {
      expect(frequency).toBeCloseTo(PLAIN[i]! / 4, 6)
    }
  })

  test('llama3 scaling leaves short wavelengths, divides long ones, and passes smoothly between', () => {
    const scaling = {
      rope_type: 'llama3',
      factor: 8,
      low_freq_factor: 1,
      high_freq_factor: 4,
      original_max_position_embeddings: 128,
    }
    for (const [i, frequency] of frequencies(scaling).entries()) {
      const wavelength = (2 * Math.PI) / PLAIN[i]!
      if (wavelength < 128 / 4) expect(frequency).toBeCloseTo(PLAIN[i]!, 6)
      else if (wavelength > 128 / 1) expect(frequency).toBeCloseTo(PLAIN[i]! / 8, 6)
      else {
        const smooth = (128 / wavelength - 1) / (4 - 1)
        expect(frequency).toBeCloseTo((1 - smooth) * (PLAIN[i]! / 8) + smooth * PLAIN[i]!, 6)
      }
    }
  })

  test('yarn scaling keeps the fastest pair, divides the slowest, and scales both tables by 0.1 ln(factor) + 1', () => {
    const scaling = { rope_type: 'yarn', factor: 4, original_max_position_embeddings: 1024 }
    const stretched = frequencies(scaling)
    expect(stretched[0]).toBeCloseTo(PLAIN[0]!, 6)
    expect(stretched.at(-1)).toBeCloseTo(PLAIN.at(-1)! / 4, 6)
    expect(tables(scaling).cos[0]).toBeCloseTo(0.1 * Math.log(4) + 1, 6)
    expect(tables({ ...scaling, attention_factor: 1.5 }).cos[0]).toBeCloseTo(1.5, 6)
  })
})
