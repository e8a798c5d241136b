// Every supported architecture and option against transformers: tiny random models made by scripts/golden/architectures.py.
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { decodeDelta, encodeDelta } from '../../../adapters/canonical.ts'
import type { Delta } from '../../../adapters/delta.ts'
import { loadDelta } from '../../../adapters/delta-source.ts'
import { importAdapter } from '../../../adapters/import-adapter.ts'
import { graphPath } from '../../../gpu-backend/engine/onnx/built-graph.ts'
import { Runner } from '../../../gpu-backend/engine/onnx/runner.ts'
import { identify } from '../../../gpu-backend/model/identify.ts'
import type { GraphTarget } from '../../../gpu-backend/model/linear.ts'
import type { ModelSource } from '../../../gpu-backend/model/model-source.ts'
import { projectionGroups } from '../../../gpu-backend/model/projection-groups.ts'
import type { WeightFormat } from '../../../gpu-backend/model/weight-formats.ts'
import { type PackedDelta, packDelta, viewPacked } from '../../../gpu-backend/residency/packed-delta.ts'
import { ARCHITECTURES, goldenLogits, goldens, openGolden, relativeError } from '../../support/architecture-goldens.ts'
import { directoryFiles } from '../../support/directory-files.ts'
import { temporaryDir } from '../../support/temporary-dir.ts'

const CONTEXT = 64
const TOLERANCE = 1e-4
const cache = temporaryDir()
const { prompt, models, adapters } = goldens()
const expected = await goldenLogits()

async function makeRunner(
  source: ModelSource,
  target: GraphTarget = 'cpu',
  format: WeightFormat = 'f32',
): Promise<Runner> {
  const { fingerprint } = await identify(source, 'golden', cache)
  const path = await graphPath(source, fingerprint, { format, target, positions: CONTEXT }, cache)
  const { config } = source
  const runner = new Runner({
    floatType: 'f32',
    graphPath: path,
    config,
    device: 'cpu',
    threads: 1,
    maxRows: 1,
    contextTokens: CONTEXT,
  })
  await runner.loadVariants()
  return runner
}

/** Logits [tokens, vocab] of the prompt, in prefill chunks of `chunk` tokens. */
function prefill(runner: Runner, vocab: number, chunk: number, delta: PackedDelta | null = null): Float32Array {
  const logits = new Float32Array(prompt.length * vocab)
  for (let past = 0; past < prompt.length; past += chunk) {
    const tokens = prompt.slice(past, past + chunk)
    logits.set(runner.prefill(0, tokens, past, delta, [...tokens.keys()]).logits, past * vocab)
  }
  return logits
}

/** The same, one decode step for each token. */
function decode(runner: Runner, vocab: number, delta: PackedDelta | null = null): Float32Array {
  const logits = new Float32Array(prompt.length * vocab)
  for (const [past, token] of prompt.entries()) logits.set(runner.decode([{ token, past, delta }]).logits, past * vocab)
  return logits
}

/** The same, several tokens in each step, where the runner can, and what remains one by one. */
function verify(runner: Runner, vocab: number, delta: PackedDelta | null = null): Float32Array {
  const logits = new Float32Array(prompt.length * vocab)
  const count = runner.verifyTokens || 1
  for (let past = 0; past < prompt.length; past += count) {
    const tokens = prompt.slice(past, past + count)
    if (tokens.length === runner.verifyTokens) logits.set(runner.verify(tokens, past, delta).logits, past * vocab)
    else
      for (const [i, token] of tokens.entries())
        logits.set(runner.decode([{ token, past: past + i, delta }]).logits, (past + i) * vocab)
  }
  return logits
}

function expectGolden(runner: Runner, vocab: number, golden: Float32Array, delta: PackedDelta | null = null): void {
  expect(relativeError(prefill(runner, vocab, prompt.length, delta), golden), 'whole').toBeLessThan(TOLERANCE)
  expect(relativeError(prefill(runner, vocab, 16, delta), golden), 'in chunks').toBeLessThan(TOLERANCE)
  const decoded = decode(runner, vocab, delta)
  expect(relativeError(decoded, golden), 'token by token').toBeLessThan(TOLERANCE)
  expect(verify(runner, vocab, delta), 'several tokens a step').toEqual(decoded)
}

describe('an architecture gives the logits of transformers, whole, in chunks and token by token', () => {
  it.each(Object.keys(models))('%s', async (name) => {
    const source = await openGolden(name, cache)
    const runner = await makeRunner(source)
    expect(runner.verifyTokens).toBeGreaterThan(1)
    try {
      expectGolden(runner, source.config.vocabSize, expected.get(name)!)
    } finally {
      runner.release()
    }
  })

  it('and no two models have the same logits, so that an option that is ignored would show', () => {
    // A Mistral without a window is a Llama.
    const names = Object.keys(models).filter((name) => name !== 'mistral')
    for (const [i, name] of names.entries()) {
      for (const other of names.slice(i + 1)) {
        expect(relativeError(expected.get(name)!, expected.get(other)!), `${name}, ${other}`).toBeGreaterThan(
          20 * TOLERANCE,
        )
      }
    }
  })
})

function cosine(x: Float32Array, y: Float32Array): number {
  const dot = (left: Float32Array, right: Float32Array) => left.reduce((sum, value, i) => sum + value * right[i]!, 0)
  return dot(x, y) / Math.sqrt(dot(x, x) * dot(y, y))
}

// Models that share their weights differ in rotary tables and windows alone.
const structures = Object.keys(models).filter((name) => models[name] === name)

describe.each([
  ['int8', 0.998],
  ['int4', 0.85],
] as const)('in %s', (format, likeness) => {
  it.each(structures)('%s stays near on every target, and a browser gives the same with WebGPU', async (name) => {
    const source = await openGolden(name, cache)
    const logits = async (target: GraphTarget) => {
      const runner = await makeRunner(source, target, format)
      try {
        return prefill(runner, source.config.vocabSize, prompt.length)
      } finally {
        runner.release()
      }
    }
    const [cpu, wasm, webgpu] = [await logits('cpu'), await logits('wasm'), await logits('webgpu')]
    // Random weights have no structure that rounding would spare, so that four bits move single logits far.
    for (const run of [cpu, wasm]) expect(cosine(run, expected.get(name)!)).toBeGreaterThan(likeness)
    expect(relativeError(webgpu, wasm)).toBeLessThan(TOLERANCE)
  })
})

describe.each(['f32', 'int8', 'int4'] as const)('in %s, the graph without deltas', (format) => {
  it.each(structures)('gives the bits of the one with deltas for a row without one, of %s', async (name) => {
    const source = await openGolden(name, cache)
    const base = await identify(source, name, cache)
    const runner = await makeRunner(source, 'cpu', format)
    // It changes nothing, and keeps the graph for deltas in use.
    const empty: Delta = { metadata: { base: base.fingerprint, sourceFormat: 'test' }, modules: new Map() }
    const { shape, values } = packDelta('sha256:empty', empty, runner.groups, base)
    const packed = viewPacked('sha256:empty', shape, runner.groups, base, values)
    const { vocabSize } = source.config
    try {
      expect(decode(runner, vocabSize)).toEqual(decode(runner, vocabSize, packed))
      expect(verify(runner, vocabSize)).toEqual(verify(runner, vocabSize, packed))
      expect(prefill(runner, vocabSize, 16)).toEqual(prefill(runner, vocabSize, 16, packed))
    } finally {
      runner.release()
    }
  })
})

describe('a delta over attention, MLP, embeddings and head gives the logits of PEFT', () => {
  const cases = adapters.flatMap((name) => (['cpu', 'webgpu'] as const).map((target) => ({ name, target })))
  it.each(cases)('on $name, with the graph for $target', async ({ name, target }) => {
    const source = await openGolden(name, cache)
    const base = await identify(source, name, cache)
    const imported = await importAdapter(directoryFiles(join(ARCHITECTURES, `${name}-adapter`)), { base })
    const delta = decodeDelta(encodeDelta(await loadDelta(imported), base), base)
    const touched = new Set([...delta.modules.keys()].map((module) => module.split('.').at(-1)))
    expect([...touched].sort()).toEqual(['down_proj', 'embed_tokens', 'lm_head', 'q_proj', 'v_proj'])
    const groups = projectionGroups(source.config)
    const { shape, values } = packDelta('sha256:golden', delta, groups, base)
    const packed = viewPacked('sha256:golden', shape, groups, base, values)
    const runner = await makeRunner(source, target)
    try {
      const golden = expected.get(`${name}-adapter`)!
      expectGolden(runner, base.vocab_size, golden, packed)
      expect(relativeError(prefill(runner, base.vocab_size, prompt.length), golden)).toBeGreaterThan(0.05)
    } finally {
      runner.release()
    }
  })
})
