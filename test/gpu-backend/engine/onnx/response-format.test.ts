// The embedded base model, which knows some JSON, held to schemas; the conformance suite does the same with random models.
import { describe, expect, test } from 'vitest'
import { EMBEDDED_MODEL } from '../../../../gpu-backend/config.ts'
import { ask } from '../../../support/ask.ts'
import { checkAgainst, JSON_SCHEMAS } from '../../../support/json-answers.ts'
import { tinyEngines } from '../../../support/tiny-engine.ts'

const engines = tinyEngines()

describe('the embedded base model', () => {
  test('keeps every schema, greedy and warm, in one batch', async () => {
    const engine = await engines.start({ modelPath: EMBEDDED_MODEL, weights: 'int8', maxBatch: 16, threads: 2 })
    const questions = Object.entries(JSON_SCHEMAS).flatMap(([name, schema]) =>
      [0, 1].map((temperature) => ({ name, schema, temperature })),
    )
    const answers = await Promise.all(
      questions.map(async ({ name, schema, temperature }) => {
        const messages = [{ role: 'user' as const, content: `Answer with a JSON object about ${name}.` }]
        const response_format = { type: 'json_schema' as const, json_schema: { name: 'answer', schema } }
        const sampling = { temperature, max_tokens: 300, min_tokens: 0, seed: 3, response_format }
        return { schema, ...(await ask(engine, { messages, sampling })) }
      }),
    )
    for (const { schema, text, reason } of answers) if (reason === 'stop') checkAgainst(schema, text)
    expect(answers.filter(({ reason }) => reason === 'stop').length).toBeGreaterThan(answers.length / 2)
  })
})
