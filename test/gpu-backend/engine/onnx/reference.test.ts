// The engine against the model's definition in plain loops: the same tokens, and their probabilities in float32.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { memoryFile } from '../../../../adapters/file-set.ts'
import { openSafetensors } from '../../../../adapters/safetensors.ts'
import { Tokenizer } from '../../../../gpu-backend/model/tokenizer.ts'
import { ask, body } from '../../../support/ask.ts'
import { encodedRandomDelta } from '../../../support/random-delta.ts'
import { referenceLogits, type Weights } from '../../../support/reference-llama.ts'
import { tinyEngines } from '../../../support/tiny-engine.ts'
import { embeddedTokenizerFiles, writeTinyModel } from '../../../support/tiny-model.ts'

const TOKENS = 6
const PROMPTS = ['What is your return policy?', 'Hi']
const engines = tinyEngines()
const tokenizer = new Tokenizer(embeddedTokenizerFiles())

async function weightsOf(dir: string): Promise<Weights> {
  const file = await openSafetensors(memoryFile('model', new Uint8Array(readFileSync(join(dir, 'model.safetensors')))))
  const weights = new Map<string, Float32Array>()
  for (const { name, load } of file.tensors.values()) weights.set(name, await load())
  return weights
}

describe.each([
  ['with its embeddings as its head', {}],
  ['with a head of its own', { tie_word_embeddings: false }],
  ['with larger heads than hidden / heads', { head_dim: 32 }],
  ['with as many key and value heads as heads', { num_key_value_heads: 4 }],
])('a model %s', (name, config) => {
  test('says what its definition says, with any delta, all in one batch', async () => {
    const dir = writeTinyModel(join(engines.root, name.replaceAll(' ', '-').replaceAll('/', '')), { config })
    const engine = await engines.start({ modelPath: dir })
    const { base } = engine.info
    const weights = await weightsOf(dir)
    const recipes = [
      { seed: 1, rank: 4 },
      { seed: 2, rank: (path: string) => 1 + (path.length % 5), modules: () => true },
      { seed: 3, rank: 8, modules: (path: string) => path.endsWith('v_proj'), strength: 1 },
    ]
    const deltas = await Promise.all(recipes.map((recipe) => encodedRandomDelta(base, recipe)))
    for (const { digest, bytes } of deltas) await engine.admit(digest, body(bytes), 1e9)
    const questions = [undefined, ...deltas].flatMap((delta) => PROMPTS.map((prompt) => ({ delta, prompt })))
    const answers = await Promise.all(
      questions.map(({ delta, prompt }) =>
        ask(engine, { delta: delta?.digest ?? null, prompt, sampling: { max_tokens: TOKENS } }),
      ),
    )
    for (const [i, { delta, prompt }] of questions.entries()) {
      const ids = tokenizer.encode(prompt)
      const { tokens, choices } = answers[i]!
      const logits = referenceLogits(base, weights, [...ids, ...tokens], delta?.delta)
      for (const [t, token] of tokens.entries()) {
        const row = logits[ids.length - 1 + t]!
        const best = Math.max(...row)
        expect(token).toBe(row.indexOf(best))
        const logprob = row[token]! - best - Math.log(row.reduce((sum, logit) => sum + Math.exp(logit - best), 0))
        expect(Math.abs(choices[0]!.logprobs[t]! - logprob)).toBeLessThan(1e-3)
      }
    }
  })
})
