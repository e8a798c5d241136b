// What every engine must do, whatever it runs on. A suite calls `engineConformance` with a way to make its engine;
// a case that an engine cannot pass is to be skipped there, with the reason.
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { digestOf } from '../../../adapters/digest.ts'
import type { Engine, EngineEvent } from '../../../gpu-backend/engine/engine.ts'
import { BackendError } from '../../../gpu-backend/errors.ts'
import { Tokenizer } from '../../../gpu-backend/model/tokenizer.ts'
import type { SamplingParams, Usage } from '../../../gpu-backend/protocol.ts'
import { changeBound } from '../../../gpu-backend/residency/change-bound.ts'
import { type Answer, ask, body, type Choice, contextOf, type Question, requestOf, stream } from '../../support/ask.ts'
import { checkAgainst, JSON_SCHEMAS, noBlankTokens, tokensThatEndJson } from '../../support/json-answers.ts'
import { expectOneSentence } from '../../support/one-sentence.ts'
import fc from '../../support/properties.ts'
import { type DeltaRecipe, type EncodedDelta, encodedRandomDelta, randomDelta } from '../../support/random-delta.ts'
import { temporaryDir } from '../../support/temporary-dir.ts'
import { THINKING_TEMPLATE } from '../../support/thinking-template.ts'
import { embeddedTokenizerFiles } from '../../support/tiny-model.ts'
import { TOOL_TEMPLATES } from '../../support/tool-templates.ts'

export interface EngineLimits {
  readonly rows: number
  readonly queue: number
  readonly contextTokens: number
  /** `scarce`: room in memory for a few of the suite's deltas only. */
  readonly memory: 'plenty' | 'scarce'
}

export interface EngineUnderTest {
  /** An engine in `dataDir`, or in a folder of its own. */
  start(limits: EngineLimits, dataDir?: string): Promise<Engine>
  /** By how much log probabilities may differ between a row alone and the same row in a batch. */
  readonly tolerance: number
  /** Runs of the random workload; each is a few dozen requests. */
  readonly workloads: number
  /** A step takes so long (a tenth of a second in software) that answers are shorter. The cases are the same. */
  readonly slow?: boolean
  /** Why prompts that were seen before are computed again, where they are. */
  readonly noPrefixCache?: string
  /** Why only the end of an answer tells how much of its prompt was cached, where it is so. */
  readonly cachedAtTheEnd?: string
  /** Why it makes no embeddings, where it does not: then it says so. */
  readonly noEmbeddings?: string
  /** Why JSON on a random model may never end, or numbers in it be of any length, where they may: then what ends is checked and nothing needs to. */
  readonly endlessJson?: string
  /** Why an answer may not be either a call or in a format, where it is refused. */
  readonly noCallsBesideFormats?: string
  /** Where a delta is that was just taken in, if not on disk alone. */
  readonly admittedTier?: 'host'
}

type Schema = Readonly<Record<string, unknown>>

const PLENTY: EngineLimits = { rows: 8, queue: 200, contextTokens: 512, memory: 'plenty' }
const MANY_BYTES = 1e9
/** Groups in which the requests of a random workload come. */
const WAVES = 4
const tokenizer = new Tokenizer(embeddedTokenizerFiles())
/** 21 tokens of the tiny model's tokenizer. */
const SENTENCE = 'Our shop is open from nine to five, and returns are free within thirty days. '

/** Deltas of every kind in one batch: ranks from 1 to 32, all modules or one, the head, the embeddings. */
const RECIPES: readonly DeltaRecipe[] = [
  { seed: 11, rank: 1, strength: 0.5 },
  { seed: 12, rank: 4 },
  { seed: 13, rank: 32, modules: (path) => /self_attn\.[qv]_proj$/.test(path), strength: 1 },
  { seed: 14, rank: (path) => 1 + (path.length % 7), modules: () => true },
  { seed: 15, rank: 8, modules: (path) => path === 'model.embed_tokens', strength: 1 },
  { seed: 16, rank: 16, modules: (path) => path === 'lm_head', strength: 1 },
]

export function engineConformance(underTest: EngineUnderTest): void {
  let engine: Engine
  let deltas: EncodedDelta[]
  const started: Engine[] = []

  const start = async (limits: Partial<EngineLimits> = {}) => {
    const made = await underTest.start({ ...PLENTY, ...limits })
    started.push(made)
    return made
  }
  /** Tokens of an answer that is to run for a while. */
  const tokens = (count: number) => (underTest.slow ? 4 + Math.ceil(count / 8) : count)
  /** Of several chunks in any case. */
  const longPrompt = SENTENCE.repeat(underTest.slow ? 4 : 16)
  const digests = () => deltas.map(({ digest }) => digest)

  beforeAll(async () => {
    engine = await start()
    deltas = await Promise.all(RECIPES.map((recipe) => encodedRandomDelta(engine.info.base, recipe)))
    for (const delta of deltas) await admit(engine, delta)
  })
  afterAll(async () => {
    for (const one of started) await one.close()
  })

  describe('an answer', () => {
    test('begins with started, streams text, says why it ended and what it cost', async () => {
      const { events, text, tokens, usage } = await ask(engine, { sampling: { max_tokens: 12 } })
      expect(events[0]).toMatchObject({ event: 'started', tier: null })
      expect(events.at(-2)).toEqual({ event: 'finished', index: 0, reason: 'length' })
      const texts = events.slice(1, -2)
      expect(texts.length).toBeGreaterThan(1)
      expect(texts.every(({ event }) => event === 'text')).toBe(true)
      expect(tokens).toHaveLength(12)
      expect(text.isWellFormed()).toBe(true)
      const promptTokens = events[0]?.event === 'started' ? events[0].promptTokens : 0
      expect(usage).toEqual({ prompt_tokens: promptTokens, cached_tokens: 0, completion_tokens: 12 })
    })

    test('is the same every time it is greedy', async () => {
      expect((await ask(engine)).tokens).toEqual((await ask(engine)).tokens)
    })

    test('to messages is the answer to the prompt that the template makes of them', async () => {
      const messages = [{ role: 'user' as const, content: 'Hello' }]
      const prompt = '<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n'
      expect((await ask(engine, { messages })).tokens).toEqual((await ask(engine, { prompt })).tokens)
    })

    test('to tokens is the answer to the text that they are of, and goes on where they end', async () => {
      const prompt = [...tokenizer.encode(SENTENCE)]
      const { choices } = await ask(engine, { prompt: [SENTENCE, prompt] })
      expect(choices[1]!.tokens).toEqual(choices[0]!.tokens)
      const longer = await ask(engine, { prompt: [...prompt, choices[0]!.tokens[0]!], sampling: { max_tokens: 7 } })
      expect(longer.tokens).toEqual(choices[0]!.tokens.slice(1))
    })

    test('to tokens that end within a character begins with all of it', async () => {
      const [first, rest] = tokenizer.encode('ä')
      const prompt = [...tokenizer.encode(SENTENCE)]
      const sampling = { max_tokens: 1, logit_bias: { [rest!]: 100 } }
      const { choices } = await ask(engine, { prompt: [prompt, [...prompt, first!]], n: 2, sampling })
      expect(choices.map(({ text }) => text)).toEqual(['\ufffd', '\ufffd', 'ä', 'ä'])
    })

    test('ends with the request, the token or the context, whichever allows least', async () => {
      expect((await ask(engine, { sampling: { max_tokens: 1 } })).usage?.completion_tokens).toBe(1)
      const limited = await ask(engine, { allowedTokens: 3, sampling: { max_tokens: 9, min_tokens: 0 } })
      expect(limited.usage?.completion_tokens).toBeLessThanOrEqual(3)
      expect(limited.reason).toBe('length')
      const open = requestOf({ prompt: SENTENCE.repeat(23) })
      const { max_tokens: _, ...sampling } = { ...open.sampling, min_tokens: 1000 }
      let tokens = 0
      for await (const event of engine.generate({ ...open, sampling }, contextOf())) {
        if (event.event === 'started') tokens += event.promptTokens
        if (event.event === 'text') tokens += event.tokens
      }
      expect(tokens).toBe(engine.info.context_tokens)
    })

    test('goes on after the prompt, however the prompt is cut into chunks', async () => {
      const whole = await ask(engine, { prompt: longPrompt, sampling: { max_tokens: 6 } })
      const longer = await ask(engine, { prompt: longPrompt + whole.text, sampling: { max_tokens: 1 }, tenant: 'b' })
      const again = await ask(engine, { prompt: longPrompt + whole.text, sampling: { max_tokens: 1 }, tenant: 'c' })
      expect(longer.tokens).toEqual(again.tokens)
    })
  })

  describe('adapters', () => {
    test('each change the answer, and in their own way', async () => {
      const answers = await Promise.all([null, ...digests()].map((delta) => ask(engine, { delta })))
      // Tokens may happen to agree where a delta is small; their probabilities cannot.
      for (const [i, one] of answers.entries()) {
        for (const other of answers.slice(i + 1)) {
          const [x, y] = [one.choices[0]!.logprobs, other.choices[0]!.logprobs]
          expect(Math.max(...x.map((logprob, t) => Math.abs(logprob - y[t]!)))).toBeGreaterThan(
            10 * underTest.tolerance,
          )
        }
      }
      expect(new Set(answers.map(({ tokens }) => tokens.join())).size).toBeGreaterThan(answers.length / 2)
    })

    test('in one batch with each other and the base give what each gives alone', async () => {
      const sampling = { max_tokens: tokens(250) }
      const alone: Answer[] = []
      for (const delta of [null, ...digests()]) alone.push(await ask(engine, { delta, sampling }))
      const together = await Promise.all([null, ...digests()].map((delta) => ask(engine, { delta, sampling })))
      for (const [i, answer] of together.entries()) {
        expect(answer.tokens).toEqual(alone[i]!.tokens)
        for (const [t, logprob] of answer.choices[0]!.logprobs.entries()) {
          expect(Math.abs(logprob - alone[i]!.choices[0]!.logprobs[t]!)).toBeLessThan(underTest.tolerance)
        }
      }
      expect(together[3]!.batch).toEqual({ rows: together.length, deltas: digests().length })
      expect(alone[3]!.batch).toEqual({ rows: 1, deltas: 1 })
    })

    test('of which several sequences run with one share it', async () => {
      const delta = digests()[1]!
      const questions = ['One', 'Two', 'Three'].map((prompt) => ({
        delta,
        prompt,
        sampling: { max_tokens: tokens(100) },
      }))
      const alone: Answer[] = []
      for (const question of questions) alone.push(await ask(engine, question))
      const together = await Promise.all(questions.map((question) => ask(engine, question)))
      expect(together.map(({ tokens }) => tokens)).toEqual(alone.map(({ tokens }) => tokens))
      expect(together[0]!.batch).toEqual({ rows: 3, deltas: 1 })
    })

    test('bring their own chat template, and one that runs wild stops nobody else', async () => {
      const { base } = engine.info
      const [own, wild] = await Promise.all([
        encodedRandomDelta(base, { seed: 25, rank: 2, chatTemplate: 'Q: {{ messages[0].content }} A:' }),
        encodedRandomDelta(base, { seed: 26, rank: 2, chatTemplate: '{% for i in range(1000000000) %}x{% endfor %}' }),
      ])
      await Promise.all([admit(engine, own), admit(engine, wild)])
      const messages = [{ role: 'user' as const, content: 'Hello' }]
      const refused = refusal(ask(engine, { delta: wild.digest, messages }))
      const [beside, chat] = await Promise.all([ask(engine), ask(engine, { delta: own.digest, messages })])
      expect((await refused).code).toBe('bad_request')
      expect(beside.reason).toBe('length')
      expect(chat.tokens).toEqual((await ask(engine, { delta: own.digest, prompt: 'Q: Hello A:' })).tokens)
      for (const { digest } of [own, wild]) await engine.evict(digest)
    })

    test('have their chat template given what a request sets for it', async () => {
      const delta = await encodedRandomDelta(engine.info.base, { seed: 27, rank: 2, chatTemplate: THINKING_TEMPLATE })
      await admit(engine, delta)
      const messages = [{ role: 'user' as const, content: 'Hello' }]
      const asked = '<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n'
      for (const [enable_thinking, prompt] of [
        [true, asked],
        [false, `${asked}<think>\n\n</think>\n\n`],
      ] as const) {
        const chat = await ask(engine, { delta: delta.digest, messages, chat_template_kwargs: { enable_thinking } })
        expect(chat.tokens).toEqual((await ask(engine, { delta: delta.digest, prompt })).tokens)
      }
      await engine.evict(delta.digest)
    })

    test('bring a chat template with tools, of which one is called by its name with arguments that it takes', async () => {
      const parameters = {
        type: 'object',
        properties: { city: { enum: ['Bern', 'Rome'] }, day: { $ref: '#/$defs/day' } },
        required: ['city', 'day'],
        additionalProperties: false,
        $defs: { day: { type: 'integer', minimum: 1, maximum: 31 } },
      }
      const functions = [{ name: 'weather', parameters }, { name: 'tide' }]
      const tools = functions.map((described) => ({ type: 'function' as const, function: described }))
      const messages = [{ role: 'user' as const, content: 'How is the weather?' }]
      for (const [seed, chatTemplate] of Object.values(TOOL_TEMPLATES).entries()) {
        const delta = await encodedRandomDelta(engine.info.base, { seed: 70 + seed, rank: 2, chatTemplate })
        await admit(engine, delta)
        const sampling = { temperature: 1, seed: 7, max_tokens: 80, min_tokens: 0, logit_bias: noBlankTokens() }
        const { events, choices, text, usage } = await ask(engine, {
          ...{ delta: delta.digest, messages, tools, must_call: ['weather'], n: 2, sampling },
        })
        expect(text).toBe('')
        expect(choices.map(({ reason }) => reason)).toEqual(['tool_calls', 'tool_calls'])
        const calls = events.filter((event) => event.event === 'tool_call')
        expect(calls.map(({ index }) => index).sort()).toEqual([0, 1])
        for (const { call } of calls) {
          expect(call.function.name).toBe('weather')
          expect(JSON.parse(call.function.arguments)).toEqual({
            city: expect.stringMatching(/^(Bern|Rome)$/),
            day: expect.toSatisfy((day: number) => Number.isInteger(day) && day >= 1 && day <= 31),
          })
        }
        const counted = events.reduce((sum, event) => sum + (event.event === 'text' ? event.tokens : 0), 0)
        expect(counted).toBe(usage?.completion_tokens)
        const cut = await ask(engine, {
          ...{ delta: delta.digest, messages, tools, must_call: ['weather'], sampling: { ...sampling, max_tokens: 3 } },
        })
        expect(cut).toMatchObject({ reason: 'length', text: expect.stringMatching(/^\s*\{/) })
        await engine.evict(delta.digest)
      }
    })

    test('call tools in place of an answer that would be held to a format, or say why they cannot', async () => {
      const tools = [{ type: 'function' as const, function: { name: 'time' } }]
      const messages = [{ role: 'user' as const, content: 'What time is it?' }]
      const schema = { type: 'object', properties: { time: { type: 'integer' } }, required: ['time'] }
      const chatTemplate = TOOL_TEMPLATES.hermes
      const delta = await encodedRandomDelta(engine.info.base, { seed: 74, rank: 2, chatTemplate })
      await admit(engine, delta)
      // JSON begins with a brace, a call with its mark.
      const answer = (brace: number) => {
        const logit_bias = { ...noBlankTokens(), ...tokensThatEndJson(20), [tokenizer.encode('{')[0]!]: brace }
        const sampling: Partial<SamplingParams> = {
          ...{ seed: 7, max_tokens: 80, min_tokens: 0, logit_bias },
          response_format: { type: 'json_schema', json_schema: { schema } },
        }
        return ask(engine, { delta: delta.digest, messages, tools, sampling })
      }
      if (underTest.noCallsBesideFormats) {
        const { code, message } = await refusal(answer(0))
        expect(code).toBe('bad_request')
        expectOneSentence(message)
      } else {
        const [called, told] = [await answer(-100), await answer(100)]
        const calls = called.events.filter((event) => event.event === 'tool_call')
        expect(calls.length).toBeGreaterThan(0)
        for (const { call } of calls) expect(call.function.name).toBe('time')
        expect(called).toMatchObject({ reason: 'tool_calls', text: '' })
        checkAgainst(schema, told.text)
      }
      await engine.evict(delta.digest)
    })

    test('without a template for tools refuse them', async () => {
      const tools = [{ type: 'function' as const, function: { name: 'time' } }]
      const messages = [{ role: 'user' as const, content: 'What time is it?' }]
      const error = await refusal(ask(engine, { messages, tools }))
      expect(error).toMatchObject({ code: 'bad_request', param: 'tools' })
      expectOneSentence(error.message)
    })

    test('that are not here are named in the refusal', async () => {
      const digest = `sha256:${'0'.repeat(64)}`
      const error = await refusal(ask(engine, { delta: digest }))
      expect(error.code).toBe('adapter_missing')
      expect(error.message).toContain(digest)
      expect((await refusal(engine.embed({ delta: digest, input: ['x'] }, contextOf()))).code).toBe('adapter_missing')
    })

    test('that are forgotten are forgotten everywhere, once no running sequence uses them', async () => {
      const delta = await encodedRandomDelta(engine.info.base, { seed: 21, rank: 2 })
      await admit(engine, delta)
      const events = stream(engine, { delta: delta.digest, sampling: { max_tokens: 40 } })[Symbol.asyncIterator]()
      await events.next()
      const evicted = engine.evict(delta.digest)
      let last = await events.next()
      for (let next = last; !next.done; next = await events.next()) last = next
      expect(last.value.event).toBe('done')
      await evicted
      expect((await engine.residency()).map(({ digest }) => digest)).not.toContain(delta.digest)
      expect((await refusal(ask(engine, { delta: delta.digest }))).code).toBe('adapter_missing')
      await admit(engine, delta)
      expect((await ask(engine, { delta: delta.digest })).reason).toBe('length')
      await engine.evict(delta.digest)
    })

    test('are here from when they are taken in until they are forgotten', async () => {
      const delta = await encodedRandomDelta(engine.info.base, { seed: 29, rank: 2 })
      expect(engine.has(delta.digest)).toBe(false)
      await admit(engine, delta)
      expect(engine.has(delta.digest)).toBe(true)
      await engine.evict(delta.digest)
      expect(engine.has(delta.digest)).toBe(false)
    })

    test('say in which tier they are', async () => {
      const delta = await encodedRandomDelta(engine.info.base, { seed: 22, rank: 2 })
      await admit(engine, delta)
      const tier = async () => (await engine.residency()).find(({ digest }) => digest === delta.digest)?.tier
      expect(await tier()).toBe(underTest.admittedTier ?? 'disk')
      const begun = Promise.withResolvers<void>()
      const control = new AbortController()
      const long = { delta: delta.digest, sampling: { max_tokens: 450 }, signal: control.signal }
      const answer = ask(engine, long, () => begun.resolve())
      await begun.promise
      const beside = await ask(engine, { delta: delta.digest, sampling: { max_tokens: 2 } })
      expect(beside.events[0]).toMatchObject({ event: 'started', tier: 'device' })
      expect(await tier()).toBe('device')
      control.abort()
      expect((await answer).events[0]).toMatchObject({ event: 'started', tier: underTest.admittedTier ?? 'disk' })
      expect(await tier()).toBe('host')
      const again = await ask(engine, { delta: delta.digest })
      expect(again.events[0]).toMatchObject({ event: 'started', tier: 'host' })
      await engine.evict(delta.digest)
      expect(await tier()).toBeUndefined()
    })

    test('whose numbers could overflow are not taken in', async () => {
      const wild = await encodedRandomDelta(engine.info.base, { seed: 28, rank: 2, strength: 1e70 })
      const refused = await refusal(admit(engine, wild))
      expect(refused.code).toBe('invalid_delta')
      expectOneSentence(refused.message)
      expect(engine.has(wild.digest)).toBe(false)
    })

    test('with the largest change that is taken overflow nothing, during and after', async () => {
      const { base } = engine.info
      const bounds = Array.from(randomDelta(base, { seed: 36, rank: 2, strength: 1 }).modules.values(), changeBound)
      const largest = await encodedRandomDelta(base, { seed: 36, rank: 2, strength: 0.99e6 / Math.max(...bounds) })
      await admit(engine, largest)
      const questions = [null, digests()[1]!].map((delta) => ({ delta, sampling: { max_tokens: 12 } }))
      const tokens = async () =>
        (await Promise.all(questions.map((question) => ask(engine, question)))).map((one) => one.tokens)
      const before = await tokens()
      for (let times = 0; times < 3; times++) {
        const [answer, beside] = await Promise.all([ask(engine, { delta: largest.digest }), tokens()])
        expect(answer.choices[0]?.logprobs.every(Number.isFinite)).toBe(true)
        expect(beside).toEqual(before)
        expect(await tokens()).toEqual(before)
      }
      await engine.evict(largest.digest)
    })

    test('with the wrong digest, damaged or too large are refused and not kept', async () => {
      const before = await engine.residency()
      const { digest, bytes } = await encodedRandomDelta(engine.info.base, { seed: 23, rank: 2 })
      const wrong = `sha256:${'1'.repeat(64)}`
      expect((await refusal(engine.admit(wrong, body(bytes), MANY_BYTES))).code).toBe('digest_mismatch')
      expect((await refusal(engine.admit(digest, body(bytes), bytes.length - 1))).code).toBe('too_large')
      const cut = bytes.slice(0, -4)
      expect((await refusal(engine.admit(await digestOf(cut), body(cut), MANY_BYTES))).code).toBe('invalid_delta')
      expect(await engine.residency()).toEqual(before)
    })
  })

  describe('ending early', () => {
    test('a request that is cancelled ends without a word and frees its row at once', async () => {
      const control = new AbortController()
      const question = { delta: digests()[0]!, sampling: { max_tokens: 400 }, signal: control.signal }
      const events = stream(engine, question)[Symbol.asyncIterator]()
      for (let seen = 0; seen < 4; seen++) await events.next()
      expect((await engine.stats()).running).toBe(1)
      control.abort()
      while (!(await events.next()).done) {}
      expect(await engine.stats()).toMatchObject({ running: 0, waiting: 0 })
    })

    test('a reader that simply stops reading frees its row as well', async () => {
      for await (const event of stream(engine, { sampling: { max_tokens: 400 } })) if (event.event === 'text') break
      expect(await engine.stats()).toMatchObject({ running: 0, waiting: 0 })
    })

    test('a request that was cancelled before it began does nothing', async () => {
      const { events } = await ask(engine, { signal: AbortSignal.abort() })
      expect(events).toEqual([])
      expect(await engine.stats()).toMatchObject({ running: 0, waiting: 0 })
    })

    test('others in the batch do not notice', async () => {
      const sampling = { max_tokens: tokens(30) }
      const questions = digests().map((delta) => ({ delta, sampling }))
      const undisturbed: Answer[] = []
      for (const question of questions) undisturbed.push(await ask(engine, question))
      const controls = questions.map(() => new AbortController())
      const answers = await Promise.all(
        questions.map((question, i) =>
          ask(engine, { ...question, signal: controls[i]!.signal }, (event) => {
            if (i % 2 === 0 && event.event === 'text') controls[i]!.abort()
          }),
        ),
      )
      for (const [i, { tokens }] of answers.entries()) {
        if (i % 2 === 1) expect(tokens).toEqual(undisturbed[i]!.tokens)
        else expect(undisturbed[i]!.tokens.slice(0, tokens.length)).toEqual(tokens)
      }
    })

    test('a stop string ends the text before it, wherever it falls between tokens', async () => {
      const whole = await ask(engine, { delta: digests()[1]!, sampling: { max_tokens: 30 } })
      for (const [from, to] of [
        [5, 9],
        [9, 10],
        [1, 6],
      ] as const) {
        const stop = whole.text.slice(from, to)
        const stopped = await ask(engine, { delta: digests()[1]!, sampling: { max_tokens: 30, stop: ['\0', stop] } })
        expect(stopped.text).toBe(whole.text.slice(0, whole.text.indexOf(stop)))
        expect(stopped.reason).toBe('stop')
        expect(stopped.usage?.completion_tokens).toBeLessThanOrEqual(30)
      }
      expect(await engine.stats()).toMatchObject({ running: 0, waiting: 0 })
    })

    test('a stop token ends the answer and is no part of its text', async () => {
      const whole = await ask(engine, { sampling: { max_tokens: 20 } })
      const id = whole.tokens[7]!
      const first = whole.tokens.indexOf(id)
      const stopped = await ask(engine, { sampling: { max_tokens: 20, min_tokens: 0, stop_token_ids: [id] } })
      expect(stopped.tokens).toEqual(whole.tokens.slice(0, first))
      expect(stopped).toMatchObject({ reason: 'stop', usage: { completion_tokens: first + 1 } })
    })

    test('a deadline ends a running answer with what there is', async () => {
      const answer = await ask(engine, { deadline_ms: 5, prompt: longPrompt, sampling: { max_tokens: 150 } })
      expect(answer.reason).toBe('deadline')
      expect(answer.tokens.length).toBeLessThan(150)
      expect(answer.usage?.completion_tokens).toBe(answer.tokens.length)
    })

    test('a deadline ends a waiting request', async () => {
      const one = await start({ rows: 1 })
      const control = new AbortController()
      const blocking = stream(one, { sampling: { max_tokens: 500 }, signal: control.signal })[Symbol.asyncIterator]()
      await blocking.next()
      const waiting = await ask(one, { deadline_ms: 1, sampling: { max_tokens: 500 } })
      expect(waiting).toMatchObject({ text: '', reason: 'deadline', usage: { completion_tokens: 0 } })
      expect(waiting.events.map(({ event }) => event)).toEqual(['started', 'finished', 'done'])
      control.abort()
      while (!(await blocking.next()).done) {}
    })
  })

  describe('sampling', () => {
    const warm: Partial<SamplingParams> = { temperature: 1, max_tokens: 16, seed: 42 }

    test('gives the same answer for a seed and another for another', async () => {
      const first = await ask(engine, { sampling: warm })
      expect((await ask(engine, { sampling: warm })).tokens).toEqual(first.tokens)
      expect((await ask(engine, { sampling: { ...warm, seed: 43 } })).tokens).not.toEqual(first.tokens)
    })

    test('gives the same answer for a seed whatever else is in the batch', async () => {
      const alone = await ask(engine, { delta: digests()[0]!, sampling: warm })
      const crowd = digests().map((delta, seed) => ask(engine, { delta, sampling: { ...warm, seed } }))
      const [inCrowd] = await Promise.all([ask(engine, { delta: digests()[0]!, sampling: warm }), ...crowd])
      expect(inCrowd!.tokens).toEqual(alone.tokens)
    })

    test('makes n different choices, the same n for the same seed', async () => {
      const { choices, usage, events } = await ask(engine, { n: 3, sampling: warm })
      expect(new Set(choices.map(({ tokens }) => tokens.join())).size).toBe(3)
      expect(choices.map(({ reason }) => reason)).toEqual(['length', 'length', 'length'])
      expect(usage?.completion_tokens).toBe(48)
      expect(events.filter(({ event }) => event === 'started')).toHaveLength(1)
      expect((await ask(engine, { n: 3, sampling: warm })).choices).toEqual(choices)
    })

    test('of several prompts makes for each the n choices that it has alone, whatever its place', async () => {
      const prompts = ['Hello there', SENTENCE, 'Hello there']
      const alone = await Promise.all(prompts.map((prompt) => ask(engine, { prompt, n: 2, sampling: warm })))
      const { choices, usage, events } = await ask(engine, { prompt: prompts, n: 2, sampling: warm, tenant: 'several' })
      const words = (choice: Choice) => [choice.text, choice.tokens, choice.reason]
      expect(choices.map(words)).toEqual(alone.flatMap((one) => one.choices.map(words)))
      const sum = (of: (usage: Usage) => number) => alone.reduce((total, one) => total + of(one.usage!), 0)
      expect(usage).toMatchObject({
        prompt_tokens: sum((one) => one.prompt_tokens),
        completion_tokens: sum((one) => one.completion_tokens),
      })
      expect(events[0]).toMatchObject({ event: 'started', promptTokens: usage!.prompt_tokens })
      expect(events.filter(({ event }) => event === 'started')).toHaveLength(1)
    })

    test('of one prompt given twice without a seed is not the same twice', async () => {
      // Hot: at 1 the likeliest answer may well come twice.
      const sampling = { ...warm, temperature: 2, seed: undefined }
      const { choices } = await ask(engine, { prompt: ['Hello there', 'Hello there'], sampling })
      expect(choices[0]!.tokens).not.toEqual(choices[1]!.tokens)
    })

    test('reports log probabilities of the tokens of the text, with alternatives in order', async () => {
      const { events, text } = await ask(engine, { sampling: { max_tokens: 6, logprobs: 3 } })
      const reported = events.flatMap((event) => (event.event === 'text' ? (event.logprobs ?? []) : []))
      const bytes = reported.flatMap(({ token, bytes }) => bytes ?? [...Buffer.from(token)])
      expect(Buffer.from(bytes).toString()).toBe(text)
      for (const { id, logprob, top } of reported) {
        expect(top).toHaveLength(3)
        expect(top[0]).toMatchObject({ id, logprob })
        expect(top[0]!.logprob).toBeGreaterThanOrEqual(top[1]!.logprob)
        expect(top.reduce((sum, other) => sum + Math.exp(other.logprob), 0)).toBeLessThanOrEqual(1 + 1e-6)
      }
    })
  })

  describe.skipIf(!underTest.noEmbeddings)('embeddings that the engine does not make', () => {
    test('are refused in one sentence, with and without an adapter', async () => {
      for (const delta of [null, digests()[0]!]) {
        expect((await refusal(engine.embed({ delta, input: ['x'] }, contextOf()))).code).toBe('bad_request')
      }
    })
  })

  describe.skipIf(underTest.noEmbeddings)('embeddings', () => {
    test('have length one, one for each input, and know which adapter made them', async () => {
      const inputs = ['one', 'two', longPrompt]
      const base = await engine.embed({ delta: null, input: inputs }, contextOf())
      expect(base.embeddings).toHaveLength(3)
      for (const vector of base.embeddings) {
        expect(vector).toHaveLength(engine.info.base.hidden_size)
        expect(Math.hypot(...vector)).toBeCloseTo(1, 5)
      }
      const adapted = await engine.embed({ delta: digests()[1]!, input: inputs }, contextOf())
      expect(cosine(base.embeddings[0]!, adapted.embeddings[0]!)).toBeLessThan(0.9999)
      expect(cosine(base.embeddings[0]!, base.embeddings[1]!)).toBeLessThan(0.9999)
    })

    test('that a deadline ends are refused as a whole, and what runs beside them goes on', async () => {
      const question = { sampling: { max_tokens: tokens(40) } }
      const wanted = (await ask(engine, question)).tokens
      const beside = ask(engine, question)
      const late = engine.embed({ delta: null, input: new Array(12).fill(longPrompt), deadline_ms: 1 }, contextOf())
      expect((await refusal(late)).code).toBe('deadline_exceeded')
      expect((await beside).tokens).toEqual(wanted)
    })

    test('are the same alone and beside running answers, prefixes in the cache or not', async () => {
      const delta = digests()[0]!
      const [alone] = (await engine.embed({ delta, input: [longPrompt] }, contextOf())).embeddings
      const answer = ask(engine, { delta, prompt: longPrompt, sampling: { max_tokens: 40 } })
      const [beside] = (await engine.embed({ delta, input: [longPrompt] }, contextOf())).embeddings
      await answer
      const [after] = (await engine.embed({ delta, input: [longPrompt] }, contextOf())).embeddings
      expect(cosine(alone!, beside!)).toBeCloseTo(1, 5)
      expect(cosine(alone!, after!)).toBeCloseTo(1, 5)
    })
  })

  describe.skipIf(underTest.noPrefixCache)('the prefix cache', () => {
    const sampling = { max_tokens: 12 }

    test('saves the beginning of a prompt that was seen before and changes nothing of the answer', async () => {
      const question = { prompt: longPrompt, sampling, tenant: 'prefix-1' }
      const first = await ask(engine, question)
      const second = await ask(engine, question)
      expect(first.usage?.cached_tokens).toBe(0)
      expect(second.usage?.cached_tokens).toBeGreaterThan(0)
      expect(second.usage?.cached_tokens).toBeLessThan(second.usage!.prompt_tokens)
      // Before the end, too, where the engine knows: an answer that is cut is paid for by it.
      const known = underTest.cachedAtTheEnd ? {} : { cachedTokens: second.usage?.cached_tokens }
      expect(second.events[0]).toMatchObject({ event: 'started', ...known })
      expect(second.choices).toEqual(first.choices)
      const other = await ask(engine, { ...question, prompt: `${longPrompt} And on Sundays?` })
      expect(other.usage?.cached_tokens).toBeGreaterThan(0)
      const uncached = await ask(engine, { ...question, prompt: `${longPrompt} And on Sundays?`, tenant: 'prefix-2' })
      expect(uncached.usage?.cached_tokens).toBe(0)
      expect(other.tokens).toEqual(uncached.tokens)
    })

    test('makes a new prompt no cheaper that several choices share', async () => {
      const { usage, events } = await ask(engine, { prompt: longPrompt, n: 2, sampling, tenant: 'prefix-5' })
      expect(usage?.cached_tokens).toBe(0)
      if (!underTest.cachedAtTheEnd) expect(events[0]).toMatchObject({ event: 'started', cachedTokens: 0 })
    })

    test('is never shared between tenants or digests, nor kept for a delta that was forgotten', async () => {
      const delta = await encodedRandomDelta(engine.info.base, { seed: 24, rank: 2 })
      await admit(engine, delta)
      const question = { prompt: longPrompt, sampling, tenant: 'prefix-3', delta: delta.digest }
      await ask(engine, question)
      const cached = async (changes: Question) => (await ask(engine, { ...question, ...changes })).usage?.cached_tokens
      expect(await cached({ tenant: 'prefix-4' })).toBe(0)
      expect(await cached({ delta: null })).toBe(0)
      expect(await cached({ delta: digests()[0]! })).toBe(0)
      expect(await cached({})).toBeGreaterThan(0)
      await engine.evict(delta.digest)
      await admit(engine, delta)
      expect(await cached({})).toBe(0)
      await engine.evict(delta.digest)
    })
  })

  describe('limits', () => {
    test('a prompt beyond the context is refused, alone or with the tokens wanted', async () => {
      const long = SENTENCE.repeat(48)
      expect((await refusal(ask(engine, { prompt: long }))).code).toBe('context_length_exceeded')
      const wanted = ask(engine, { sampling: { max_tokens: engine.info.context_tokens } })
      expect((await refusal(wanted)).code).toBe('context_length_exceeded')
      if (underTest.noEmbeddings) return
      expect((await refusal(engine.embed({ delta: null, input: ['x', long] }, contextOf()))).code).toBe(
        'context_length_exceeded',
      )
      // Tokenised, it would take longer than all others together.
      expect((await refusal(ask(engine, { prompt: 'x'.repeat(2_000_000) }))).code).toBe('context_length_exceeded')
    })

    test('an empty prompt is refused', async () => {
      expect((await refusal(ask(engine, { prompt: '' }))).code).toBe('bad_request')
      expect((await refusal(ask(engine, { prompt: ['Hello', ''] }))).code).toBe('bad_request')
      expect((await refusal(engine.embed({ delta: null, input: [''] }, contextOf()))).code).toBe('bad_request')
    })

    test('a token that the model does not have is refused', async () => {
      for (const token of [2 ** 20, 2 ** 40]) {
        expect(await refusal(ask(engine, { prompt: ['Hello', [1, token]] }))).toMatchObject({
          code: 'bad_request',
          message: expect.stringContaining(`token ${token}`),
        })
      }
    })

    test('a token that the model does not have is refused in logit_bias and stop_token_ids', async () => {
      const last = engine.info.base.vocab_size - 1
      const ofToken = (id: number): [string, Partial<SamplingParams>][] => [
        ['logit_bias', { logit_bias: { 0: 1, [id]: 1 } }],
        ['stop_token_ids', { stop_token_ids: [0, id] }],
      ]
      for (const [, sampling] of ofToken(last)) await ask(engine, { sampling })
      for (const [param, sampling] of ofToken(last + 1)) {
        const { code, message, param: named } = await refusal(ask(engine, { sampling }))
        expect({ code, named }).toEqual({ code: 'bad_request', named: param })
        expectOneSentence(message)
        expect(message).toContain(`token ${last + 1}`)
      }
    })

    test('a token that allows nothing is refused', async () => {
      expect((await refusal(ask(engine, { allowedTokens: 0 }))).code).toBe('forbidden')
    })

    test('more requests than may wait are refused at once, and none of the others is hurt', async () => {
      const small = await start({ rows: 2, queue: 3 })
      const sampling = { max_tokens: 20 }
      const results = await Promise.allSettled(Array.from({ length: 9 }, () => ask(small, { sampling })))
      const answered = results.filter(({ status }) => status === 'fulfilled')
      expect(answered).toHaveLength(5)
      for (const result of results) {
        if (result.status === 'rejected') expect(result.reason).toMatchObject({ code: 'overloaded' })
      }
      expect((await refusal(ask(small, { n: 6 }))).code).toBe('bad_request')
      expect((await refusal(ask(small, { prompt: ['a', 'b'], n: 3 }))).code).toBe('bad_request')
      expect((await ask(small, { n: 5 })).choices).toHaveLength(5)
    })

    test('a tenant that fills the queue keeps nobody else out', async () => {
      const small = await start({ rows: 2, queue: 3 })
      const outcomes = (tenant: string, count: number) =>
        Array.from({ length: count }, () => {
          const answer = ask(small, { tenant, sampling: { max_tokens: 20 } })
          return answer.then(
            () => tenant,
            (error) => error.code,
          )
        })
      const hog = outcomes('hog', 7)
      const modest = outcomes('modest', 3)
      expect((await Promise.all(hog)).sort()).toEqual([...Array(5).fill('hog'), ...Array(2).fill('overloaded')])
      expect((await Promise.all(modest)).sort()).toEqual(['modest', 'modest', 'overloaded'])
    })

    test('more tenants than rows take turns, and a tenant keeps its order', async () => {
      const small = await start({ rows: 2, queue: 100 })
      const order: string[] = []
      const one = async (tenant: string, name: string) => {
        await ask(
          small,
          { tenant, sampling: { max_tokens: 6 } },
          ({ event }) => event === 'started' && order.push(name),
        )
      }
      const greedy = Array.from({ length: 12 }, (_, i) => one('greedy', `greedy-${i}`))
      const modest = [one('modest', 'modest-0'), one('other', 'other-0'), one('modest', 'modest-1')]
      await Promise.all([...greedy, ...modest])
      expect(order.indexOf('modest-0')).toBeLessThanOrEqual(4)
      expect(order.indexOf('other-0')).toBeLessThanOrEqual(4)
      expect(order.indexOf('modest-1')).toBeLessThanOrEqual(7)
      const ofGreedy = order.filter((name) => name.startsWith('greedy'))
      expect(ofGreedy).toEqual(ofGreedy.toSorted((x, y) => Number(x.slice(7)) - Number(y.slice(7))))
    })

    test('a tenant keeps its order even where one request takes longer to prepare than the next', async () => {
      const template = 'Q: {{ messages[0].content }} A:'
      const own = await encodedRandomDelta(engine.info.base, { seed: 27, rank: 2, chatTemplate: template })
      const fresh = await start({ rows: 1 })
      await admit(fresh, own)
      const order: string[] = []
      const note = (name: string) => (event: EngineEvent) => event.event === 'started' && order.push(name)
      const messages = [{ role: 'user' as const, content: 'Hello' }]
      // The first template of an engine waits for a process to start.
      const first = ask(fresh, { delta: own.digest, messages }, note('first'))
      const others = ['second', 'third'].map((name) => ask(fresh, {}, note(name)))
      await Promise.all([first, ...others])
      expect(order).toEqual(['first', 'second', 'third'])
    })

    test('answers that nobody reads take no places from others once they are complete', async () => {
      const small = await start({ rows: 2, queue: 3 })
      const unread = Array.from({ length: 5 }, () => stream(small)[Symbol.asyncIterator]())
      for (const answer of unread) await answer.next()
      // An engine that has its figures at hand would otherwise be asked for ever in one turn of the event loop.
      for (let stats = await small.stats(); stats.running + stats.waiting > 0; stats = await small.stats()) {
        await new Promise((resolve) => setImmediate(resolve))
      }
      expect((await ask(small, { n: 5 })).choices).toHaveLength(5)
      for (const answer of unread) await answer.return?.()
    })

    test('more adapters than memory holds are all served, with answers as from memory', async () => {
      const scarce = await start({ memory: 'scarce', rows: 3 })
      const many = await Promise.all(
        Array.from({ length: 24 }, (_, i) =>
          encodedRandomDelta(engine.info.base, { seed: 100 + i, rank: 1 + (i % 8) }),
        ),
      )
      for (const delta of many) {
        await admit(scarce, delta)
        await admit(engine, delta)
      }
      const questions = [...many, ...many].map(({ digest }, i) => ({ delta: digest, tenant: `t${i % 5}` }))
      const answers = await Promise.all(questions.map((question) => ask(scarce, question)))
      const wanted = await Promise.all(questions.map((question) => ask(engine, question)))
      expect(answers.map(({ tokens }) => tokens)).toEqual(wanted.map(({ tokens }) => tokens))
      const stats = await scarce.stats()
      expect(stats.deltaEvictions).toBeGreaterThan(0)
      // None was read only to be pushed out before its turn, again and again.
      expect(stats.deltaLoads).toBeLessThanOrEqual(2 * questions.length)
      expect(stats.hostDeltas).toBeLessThan(many.length)
      expect(stats).toMatchObject({ running: 0, waiting: 0, diskDeltas: many.length })
      for (const { digest } of many) await engine.evict(digest)
    })
  })

  describe('a response_format', () => {
    const ofSchema = (schema: Schema) => ({
      type: 'json_schema' as const,
      json_schema: { name: 'answer', strict: true, schema },
    })
    /** Warm, and with what ends strings and objects made likely: a random model would seldom find an end. */
    const format = (schema: Schema, seed = 1): Partial<SamplingParams> => ({
      response_format: ofSchema(schema),
      logit_bias: { ...tokensThatEndJson(5), ...(underTest.endlessJson ? noBlankTokens() : {}) },
      temperature: 1,
      max_tokens: 300,
      min_tokens: 0,
      seed,
    })
    const coin: Schema = { enum: ['heads', 'tails'] }
    /** Whether a number in it is longer than the check can read. */
    const isTooLong = (text: string) => underTest.endlessJson !== undefined && /\d{16}/.test(text)

    test.each(Object.entries(JSON_SCHEMAS).slice(0, underTest.slow ? 3 : undefined))(
      'of %s is kept by every answer that comes to an end',
      async (_, schema) => {
        const questions = [null, ...digests()].map((delta, i) => ({ delta, n: 2, sampling: format(schema, 10 * i) }))
        const answers = await Promise.all(questions.map((question) => ask(engine, question)))
        const choices = answers.flatMap((answer) => answer.choices)
        for (const { reason } of choices) expect(['stop', 'length']).toContain(reason)
        const ended = choices.filter(({ reason }) => reason === 'stop')
        if (!underTest.endlessJson) expect(ended.length).toBeGreaterThan(0)
        for (const { text } of ended) if (!isTooLong(text)) checkAgainst(schema, text)
      },
    )

    test('of names that are required, and described by nothing, has them all', async () => {
      const boolean = { type: 'boolean' }
      const schema = { type: 'object', properties: { a: boolean }, required: ['a', 'b'], additionalProperties: boolean }
      const { choices } = await ask(engine, { n: 8, sampling: format(schema) })
      const ended = choices.filter(({ reason }) => reason === 'stop')
      expect(ended.length).toBeGreaterThan(0)
      const both = { a: expect.any(Boolean), b: expect.any(Boolean) }
      for (const { text } of ended) expect(JSON.parse(text)).toMatchObject(both)
    })

    test('of keywords that vLLM passes over or refuses is kept', async () => {
      const schema = {
        type: 'object',
        properties: {
          word: { type: 'string', enum: ['a', 1] },
          count: { type: 'integer', minimum: 0.5, maximum: 1.5 },
          pair: { type: 'array', prefixItems: [true, { type: 'null' }], minItems: 2, maxItems: 2 },
          host: { format: 'ipv4' },
        },
        required: ['word', 'count', 'host'],
      }
      const { choices } = await ask(engine, { n: 8, sampling: format(schema) })
      const ended = choices.filter(({ reason }) => reason === 'stop')
      expect(ended.length).toBeGreaterThan(0)
      for (const { text } of ended) {
        checkAgainst(schema, text)
        expect(JSON.parse(text)).toMatchObject({ word: 'a', count: 1 })
      }
    })

    test('of any JSON object is one', async () => {
      const sampling = { ...format({}), response_format: { type: 'json_object' as const } }
      const { choices } = await ask(engine, { n: 8, sampling })
      const ended = choices.filter(({ reason }) => reason === 'stop')
      if (!underTest.endlessJson) expect(ended.length).toBeGreaterThan(0)
      for (const { text } of ended) expect(Object.prototype.toString.call(JSON.parse(text))).toBe('[object Object]')
    })

    test('leaves the other rows of the batch exactly as they are', async () => {
      const questions = [null, ...digests()].map((delta) => ({ delta, sampling: { max_tokens: tokens(60) } }))
      const alone: Answer[] = []
      for (const question of questions) alone.push(await ask(engine, question))
      const schema = JSON_SCHEMAS['nested objects']!
      const held = Promise.all([1, 2].map((seed) => ask(engine, { sampling: format(schema, seed) })))
      const beside = await Promise.all(questions.map((question) => ask(engine, question)))
      expect(beside.map(({ tokens }) => tokens)).toEqual(alone.map(({ tokens }) => tokens))
      for (const [i, answer] of (await held).entries()) {
        expect(answer.text).toBe((await ask(engine, { sampling: format(schema, i + 1) })).text)
      }
    })

    test('that is complete ends the answer, whatever min_tokens asks for', async () => {
      const answer = await ask(engine, { sampling: { ...format(coin), min_tokens: 100 } })
      expect(answer.reason).toBe('stop')
      checkAgainst(coin, answer.text)
    })

    test('that max_tokens cuts short ends with length', async () => {
      const answer = await ask(engine, { sampling: { ...format(JSON_SCHEMAS.numbers!), max_tokens: 5 } })
      expect(answer).toMatchObject({ reason: 'length', usage: { completion_tokens: 5 } })
    })

    test('goes together with stop strings and stop tokens', async () => {
      const whole = await ask(engine, { sampling: format(coin) })
      const stopped = await ask(engine, { sampling: { ...format(coin), stop: ['ai', 'ea'] } })
      expect(stopped).toMatchObject({ reason: 'stop', text: whole.text.slice(0, 2) })
      const id = whole.tokens[1]!
      const other = await ask(engine, { sampling: { ...format(coin), stop_token_ids: [id] } })
      checkAgainst(coin, other.text)
      expect(other.tokens).not.toContain(id)
    })

    test("reports log probabilities of the model's own distribution, all of them finite", async () => {
      const { events } = await ask(engine, { sampling: { ...format(JSON_SCHEMAS.enums!), logprobs: 5 } })
      const logprobs = events.flatMap((event) => (event.event === 'text' ? (event.logprobs ?? []) : []))
      expect(logprobs.length).toBeGreaterThan(5)
      for (const { logprob, top } of logprobs) {
        expect(top).toHaveLength(5)
        expect([logprob, ...top.map((one) => one.logprob)].every(Number.isFinite)).toBe(true)
      }
    })

    test('that cannot be kept is refused before any work', async () => {
      const before = (await engine.stats()).prefillTokens
      for (const schema of [{ type: 'strin' }, { type: 'number', multipleOf: 3 }, { $ref: '#/none' }]) {
        const refused = await refusal(ask(engine, { sampling: format(schema) }))
        expect(refused).toMatchObject({ code: 'bad_request', param: 'response_format' })
      }
      expect((await engine.stats()).prefillTokens).toBe(before)
    })
  })

  describe('any workload', () => {
    test('ends every request exactly once, as if it were alone, and leaves nothing behind', async () => {
      const busy = await start({ rows: 4, memory: 'scarce' })
      const recipes: DeltaRecipe[] = Array.from({ length: 10 }, (_, i) => ({
        seed: 200 + i,
        rank: (path) => 1 + ((path.length * 7 + i * 5) % 32),
        modules: (path) => path !== 'lm_head' && path !== 'model.embed_tokens' && (path.length + i) % 3 > 0,
        strength: 0.5,
      }))
      const pool = await Promise.all(recipes.map((recipe) => encodedRandomDelta(engine.info.base, recipe)))
      for (const delta of pool) await admit(engine, delta)
      const alone = new Map<string, Promise<Answer>>()
      const request = fc.record({
        which: fc.integer({ min: -1, max: pool.length - 1 }),
        tenant: fc.constantFrom('a', 'b', 'c'),
        prompt: fc.constantFrom('Hi', 'What is your return policy?', longPrompt),
        max_tokens: fc.integer({ min: 1, max: 20 }),
        temperature: fc.constantFrom(0, 0, 1),
        n: fc.constantFrom(1, 1, 1, 2),
        /** Text events after which it is cancelled; beyond the answer's length: never. */
        cancelAfter: fc.oneof(
          { weight: 1, arbitrary: fc.integer({ min: 0, max: 8 }) },
          { weight: 3, arbitrary: fc.constant(99) },
        ),
        wave: fc.integer({ min: 0, max: WAVES - 1 }),
      })
      type Request = Parameters<Parameters<typeof request.map>[0]>[0]
      const questionOf = ({ which, prompt, n, max_tokens, temperature }: Request) => {
        const delta = which < 0 ? null : pool[which]!.digest
        return { delta, prompt, n, sampling: { max_tokens, temperature, seed: 7 } }
      }
      const askAlone = (one: Request) => {
        const question = questionOf(one)
        const key = JSON.stringify(question)
        const wanted = alone.get(key) ?? ask(engine, { ...question, tenant: key })
        alone.set(key, wanted)
        return wanted
      }
      const send = async (one: Request) => {
        const { which, tenant, max_tokens, n, cancelAfter } = one
        const control = new AbortController()
        const question = questionOf(one)
        let texts = 0
        const running = { ...question, tenant, signal: control.signal }
        const attempt = () =>
          ask(busy, running, ({ event }) => event === 'text' && texts++ === cancelAfter && control.abort())
        // What the edge does: a delta that is not there, any more or yet, is sent and the request repeated.
        let answer: Answer | undefined
        while (!answer) {
          answer = await attempt().catch(async (error: unknown) => {
            if (!(error instanceof BackendError) || error.code !== 'adapter_missing') throw error
            await admit(busy, pool[which]!)
            return undefined
          })
        }
        const expected = await askAlone(one)
        for (const [i, { tokens }] of answer.choices.entries()) {
          expect(expected.choices[i]!.tokens.slice(0, tokens.length)).toEqual(tokens)
        }
        const names = answer.events.map(({ event }) => event)
        const finished = names.filter((name) => name === 'finished')
        expect(names.filter((name) => name === 'started').length).toBeLessThanOrEqual(1)
        if (control.signal.aborted) expect(names).not.toContain('done')
        else {
          expect(answer.choices.map(({ tokens }) => tokens.length)).toEqual(new Array(n).fill(max_tokens))
          expect([finished.length, names.at(-1)]).toEqual([n, 'done'])
        }
      }
      await fc.assert(
        fc.asyncProperty(fc.array(request, { minLength: 1, maxLength: 24 }), async (requests) => {
          // Before, not beside: one process has one WebGPU device, which two engines must not use at once.
          for (const one of requests) await askAlone(one)
          const ends: Promise<unknown>[] = []
          for (let wave = 0; wave < WAVES; wave++) {
            const sent = requests.filter((one) => one.wave === wave).map(send)
            ends.push(...sent.map((one) => one.catch((error: unknown) => error)))
            // The next wave comes while this one runs, and deltas are forgotten under everybody's feet.
            await ends.at(-1)
            if (wave % 2 === 1) await busy.evict(pool[requests.length % pool.length]!.digest)
          }
          expect((await Promise.all(ends)).filter((error) => error !== undefined)).toEqual([])
          expect(await busy.stats()).toMatchObject({ running: 0, waiting: 0 })
        }),
        { numRuns: underTest.workloads, endOnFailure: true },
      )
      for (const { digest } of pool) await busy.evict(digest)
      expect(await busy.residency()).toEqual([])
      expect(await busy.stats()).toMatchObject({ hostDeltas: 0, hostDeltaBytes: 0, diskDeltas: 0 })
      for (const { digest } of pool) await engine.evict(digest)
    })
  })

  describe('starting again', () => {
    const dataDir = temporaryDir()

    test('in the middle of traffic ends what runs with a refusal, and keeps every delta', async () => {
      const first = await underTest.start(PLENTY, dataDir)
      const delta = deltas[1]!
      await admit(first, delta)
      const before = await ask(first, { delta: delta.digest })
      const begun = Promise.withResolvers<void>()
      const question = { delta: delta.digest, sampling: { max_tokens: 400 } }
      const ended = refusal(ask(first, question, () => begun.resolve()))
      await begun.promise
      await first.close()
      expect((await ended).code).toBe('unavailable')
      const second = await underTest.start(PLENTY, dataDir)
      started.push(second)
      expect((await second.residency()).map(({ digest }) => digest)).toEqual([delta.digest])
      expect((await ask(second, { delta: delta.digest })).tokens).toEqual(before.tokens)
    })
  })

  describe('closing', () => {
    test('ends what runs with a refusal, and everything that comes later', async () => {
      const closing = await underTest.start(PLENTY)
      const begun = Promise.withResolvers<void>()
      const running = ask(closing, { n: 8, sampling: { max_tokens: 400 } }, () => begun.resolve())
      const ended = refusal(running)
      await begun.promise
      await closing.close()
      expect((await ended).code).toBe('unavailable')
      expect((await refusal(ask(closing))).code).toBe('unavailable')
      expect((await refusal(closing.stats())).code).toBe('unavailable')
    })
  })
}

async function admit(engine: Engine, { digest, bytes }: EncodedDelta): Promise<void> {
  await engine.admit(digest, body(bytes), MANY_BYTES)
}

/** The refusal, in one sentence, with which `action` ends. */
async function refusal(action: Promise<unknown>): Promise<BackendError> {
  const error = await action.then(
    () => undefined,
    (reason: unknown) => reason,
  )
  if (!(error instanceof BackendError)) throw error ?? new Error('was accepted')
  expectOneSentence(error.message)
  return error
}

function cosine(x: readonly number[], y: readonly number[]): number {
  return x.reduce((sum, value, i) => sum + value * y[i]!, 0)
}
