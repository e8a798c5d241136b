// A schema that turns out too ambiguous in the middle of an answer, in a running batch.
import { expect, test } from 'vitest'
import { ask, stream } from '../../support/ask.ts'
import { tinyEngines } from '../../support/tiny-engine.ts'

const engines = tinyEngines()

test('an answer that is too much work ends with a refusal in the middle, and the one beside it goes on', async () => {
  const engine = await engines.start()
  const beside = { sampling: { max_tokens: 100 } }
  const alone = await ask(engine, beside)
  const schema = { type: 'string', pattern: '^[a-z ]*[a-m][a-z ]{100}$' }
  const response_format = { type: 'json_schema' as const, json_schema: { schema } }
  const events: unknown[] = []
  const reading = (async () => {
    const sampling = { temperature: 1, seed: 1, max_tokens: 100, response_format }
    for await (const event of stream(engine, { sampling })) events.push(event)
  })()
  const [refused, other] = await Promise.allSettled([reading, ask(engine, beside)])
  expect(refused).toMatchObject({
    reason: { code: 'bad_request', param: 'response_format', message: expect.stringContaining('too ambiguous') },
  })
  expect(events.length).toBeGreaterThan(1)
  expect(other).toMatchObject({ value: { tokens: alone.tokens } })
})
