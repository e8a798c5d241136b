import { describe, expect, test } from 'vitest'
import { ChoiceStream } from '../../../gpu-backend/engine/choice-stream.ts'
import { Tokenizer } from '../../../gpu-backend/model/tokenizer.ts'
import { SamplingParams, type ToolCall } from '../../../gpu-backend/protocol.ts'
import { ToolCallReader } from '../../../gpu-backend/tools/tool-call-reader.ts'
import { toolFormatOf } from '../../../gpu-backend/tools/tool-format.ts'
import { sentencePiece } from '../../support/sentencepiece.ts'
import { embeddedTokenizerFiles } from '../../support/tiny-model.ts'
import { TOOL_TEMPLATES } from '../../support/tool-templates.ts'

const files = embeddedTokenizerFiles()
const tokenizer = new Tokenizer(files)
const [END] = files.eosTokenIds

/** What a choice of these tokens shows: the events of the tokens that are pushed until it has stopped, and of its end. */
function eventsOf(choice: ChoiceStream, ids: Iterable<number>) {
  const made = []
  for (const token of ids) {
    if (choice.isStopped) break
    made.push(...choice.push({ token, logprob: -1, top: [{ token, logprob: -1 }] }))
  }
  return [...made, ...choice.end()]
}

function events(ids: Iterable<number>, options: Partial<SamplingParams> = {}) {
  const choice = new ChoiceStream(3, tokenizer, SamplingParams.parse(options), files.eosTokenIds)
  return eventsOf(choice, ids).filter((event) => event.event === 'text')
}

const textOf = (made: ReturnType<typeof events>) => made.map(({ text }) => text).join('')
const tokensOf = (made: ReturnType<typeof events>) => made.reduce((sum, { tokens }) => sum + tokens, 0)

describe('a choice', () => {
  const ids = Array.from(tokenizer.encode('Wir öffnen um 9 Uhr 🙂 und schließen um 17 Uhr.'))

  test('shows its whole text under its index and counts every token once', () => {
    const made = events([...ids, END!])
    expect(textOf(made)).toBe('Wir öffnen um 9 Uhr 🙂 und schließen um 17 Uhr.')
    expect(tokensOf(made)).toBe(ids.length + 1)
    expect(new Set(made.map(({ index }) => index))).toEqual(new Set([3]))
    for (const { text } of made) expect(text.isWellFormed()).toBe(true)
  })

  test('tells of tokens that show nothing while they come, with their log probabilities', () => {
    const special = tokenizer.encodeRendered('<|im_start|>')[0]!
    const made = events([...ids, ...new Array(1000).fill(special), END!], { logprobs: 1 })
    expect(tokensOf(made)).toBe(ids.length + 1001)
    for (const { tokens, logprobs } of made) expect(Math.max(tokens, logprobs!.length)).toBeLessThanOrEqual(64)
    expect(textOf(made)).toBe(textOf(events([...ids, END!])))
  })

  test('names tokens that are but a part of a character by their bytes, which joined are the text', () => {
    const named = events([...ids, END!], { logprobs: 1 }).flatMap(({ logprobs }) => logprobs ?? [])
    const bytes = named.map(({ token, bytes }) => bytes ?? [...Buffer.from(token)])
    expect(Buffer.from(bytes.flat()).toString()).toBe('Wir öffnen um 9 Uhr 🙂 und schließen um 17 Uhr.')
    const parts = named.filter((entry) => entry.bytes)
    expect(parts.length).toBeGreaterThan(1)
    for (const { token, bytes, top } of parts) {
      expect(token).toBe(`bytes:${bytes!.map((byte) => `\\x${byte.toString(16)}`).join('')}`)
      expect(top).toMatchObject([{ token, bytes }])
    }
  })

  test('says where each token begins in the text that is shown, in characters, whatever waits for a stop string', () => {
    const special = tokenizer.encodeRendered('<|im_start|>')
    expect(special).toHaveLength(1)
    for (const options of [{}, { stop: ['Uhr 🙂 oder', 'Wir ö.'] }]) {
      const made = events([ids[0]!, ...special, ...ids.slice(1)], { logprobs: 1, ...options })
      const text = textOf(made)
      let bytes = Buffer.of()
      for (const { token, bytes: part, id, offset } of made.flatMap(({ logprobs }) => logprobs ?? [])) {
        // A character that is not complete begins where the next token still begins.
        const before = new TextDecoder().decode(bytes, { stream: true })
        expect([token, offset]).toEqual([token, Array.from(before).length])
        if (id !== special[0]) bytes = Buffer.concat([bytes, part ? Buffer.from(part) : Buffer.from(token)])
      }
      expect(bytes.toString()).toBe(text)
    }
  })

  test('names log probabilities of every token of its text and not of the one that ended it', () => {
    const named = events([...ids, END!], { logprobs: 1 }).flatMap(({ logprobs }) => logprobs ?? [])
    expect(named.map(({ id }) => id)).toEqual(ids)
    const first = { token: 'W', id: ids[0], logprob: -1 }
    expect(named[0]).toEqual({ ...first, top: [first], offset: 0 })
    expect(events(ids).every(({ logprobs }) => logprobs === undefined)).toBe(true)
  })

  test('goes no further than a stop string, even inside a character of several tokens', () => {
    expect(textOf(events(ids, { stop: ['🙂 und'] }))).toBe('Wir öffnen um 9 Uhr ')
    expect(textOf(events(ids, { stop: ['Uhr.'] }))).toBe('Wir öffnen um 9 Uhr 🙂 und schließen um 17 ')
    expect(textOf(events(ids, { stop: ['W'] }))).toBe('')
  })

  test('shows at its end what could have become a stop string and did not', () => {
    expect(textOf(events(ids, { stop: ['Uhr. Morgen'] }))).toBe('Wir öffnen um 9 Uhr 🙂 und schließen um 17 Uhr.')
  })

  test('without a single token shows nothing', () => {
    expect(events([])).toEqual([])
    expect(events([END!])).toMatchObject([{ text: '', tokens: 1 }])
  })
})

describe('a choice that goes on from a prompt', () => {
  const VOCABULARY = ['<unk>', '<s>', '▁is', '▁Paris', '.', '▁', '<0xF0>', '<0x9F>', '<0x99>', '<0x82>', '<0x83>']
  const words = new Tokenizer({ ...files, tokenizer: sentencePiece(VOCABULARY), config: {} })
  const idsOf = (text: string) => text.split(' ').map((token) => VOCABULARY.indexOf(token))

  /** Its text, and each of its tokens with the offset, after a prompt of `before`. */
  function goOn(before: string, tokens: string, options: Partial<SamplingParams> = {}) {
    const sampling = SamplingParams.parse({ logprobs: 0, ...options })
    const choice = new ChoiceStream(0, words, sampling, [], { prompt: Int32Array.from(idsOf(before)) })
    const made = eventsOf(choice, idsOf(tokens)).filter((event) => event.event === 'text')
    return { text: textOf(made), offsets: made.flatMap(({ logprobs }) => logprobs!.map(({ offset }) => offset)) }
  }

  test('keeps the space of its first word, which the first word of a text has not', () => {
    expect(goOn('<s> ▁is', '▁Paris . ▁Paris')).toEqual({ text: ' Paris. Paris', offsets: [0, 6, 7] })
    expect(goOn('<s> ▁', '▁Paris')).toEqual({ text: ' Paris', offsets: [0] })
    for (const empty of ['<s>', '<s> <s>']) expect(goOn(empty, '▁Paris .').text).toBe('Paris.')
    const chat = new ChoiceStream(0, words, SamplingParams.parse({}), [])
    expect(textOf(eventsOf(chat, idsOf('▁Paris')).filter((event) => event.event === 'text'))).toBe('Paris')
  })

  test('looks back over special tokens, and finds stop strings with the space in front', () => {
    expect(goOn('▁is <s>', '▁Paris').text).toBe(' Paris')
    expect(goOn('▁is', '. ▁Paris .', { stop: [' Paris'] }).text).toBe('.')
    expect(goOn('▁is', '▁Paris .', { stop: [' Paris'] }).text).toBe('')
  })

  test('begins with the whole character that the prompt ends within, and none of what is before', () => {
    const smile = '<0xF0> <0x9F> <0x99> <0x82>'
    for (let cut = 1; cut < 4; cut++) {
      const bytes = smile.split(' ')
      const [before, after] = [bytes.slice(0, cut).join(' '), bytes.slice(cut).join(' ')]
      for (const earlier of ['▁is', `${smile} ${smile}`, `${smile} ▁Paris`]) {
        const { text, offsets } = goOn(`${earlier} ${before}`, `${after} .`)
        expect(text).toBe('🙂.')
        expect(offsets).toEqual([...new Array(4 - cut).fill(0), 1])
      }
    }
    expect(goOn(smile, '<0xF0> <0x9F> <0x99> <0x83> .')).toEqual({ text: '🙃.', offsets: [0, 0, 0, 0, 1] })
  })
})

describe('a choice of a request with tools', () => {
  const call = '{"name": "time", "arguments": {"zone": "UTC"}}'
  const read = (
    family: keyof typeof TOOL_TEMPLATES,
    text: string,
    { maxCalls = 9, using = tokenizer, stop = [] as string[] } = {},
  ) => {
    const toolCalls = new ToolCallReader(toolFormatOf(TOOL_TEMPLATES[family])!, ['time'], false, maxCalls)
    const ids = [...using.encodeRendered(text), END!]
    const choice = new ChoiceStream(0, using, SamplingParams.parse({ stop }), files.eosTokenIds, { toolCalls })
    const made = eventsOf(choice, ids)
    const shown = made.filter((event) => event.event === 'text')
    const calls: ToolCall[] = made.filter((event) => event.event === 'tool_call').map((event) => event.call)
    return {
      text: textOf(shown),
      counted: tokensOf(shown),
      ids: ids.length,
      calls: calls.map(({ function: called }) => called),
      reason: choice.finishReason('stop'),
      cut: choice.finishReason('length'),
    }
  }
  const time = { name: 'time', arguments: '{"zone":"UTC"}' }

  test('tells its calls from its text, counts the tokens of both, and says that it ended with calls', () => {
    const { text, counted, ids, calls, reason } = read('hermes', `I look.\n<tool_call>\n${call}\n</tool_call>`)
    expect({ text, calls, reason }).toEqual({ text: 'I look.', calls: [time], reason: 'tool_calls' })
    expect(counted).toBe(ids)
    expect(read('hermes', 'It is noon.')).toMatchObject({ text: 'It is noon.', calls: [], reason: 'stop' })
  })

  test('that ran out of tokens did so, whatever it has called', () => {
    expect(read('hermes', `<tool_call>${call}</tool_call>`).cut).toBe('length')
  })

  test('finds marks that the tokenizer does not show', () => {
    const json = structuredClone(files.tokenizer) as { added_tokens: object[] }
    json.added_tokens.push({ ...json.added_tokens[0], id: 1_000_000, content: '[TOOL_CALLS]', special: true })
    const using = new Tokenizer({ ...files, tokenizer: json })
    expect(read('mistral', `[TOOL_CALLS] [${call}]`, { using })).toMatchObject({ text: '', calls: [time] })
  })

  test('ends with its last call, or before a stop string', () => {
    const twice = `<tool_call>${call}</tool_call>`.repeat(2)
    expect(read('hermes', twice).calls).toHaveLength(2)
    const { calls, counted, ids } = read('hermes', twice, { maxCalls: 1 })
    expect(calls).toHaveLength(1)
    expect(counted).toBeLessThan(ids)
    expect(read('hermes', `One. Two. <tool_call>${call}`, { stop: ['Two'] })).toMatchObject({
      text: 'One. ',
      calls: [],
    })
  })
})
