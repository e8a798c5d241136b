// npx node scripts/bench/response-format.ts: what a response_format adds to each token.
import { EMBEDDED_MODEL } from '../../gpu-backend/config.ts'
import { type GrammarMatcher, Grammars, type ResponseFormat } from '../../gpu-backend/grammar/grammar.ts'
import { buildTokenTrie } from '../../gpu-backend/grammar/token-trie.ts'
import { openModelSource } from '../../gpu-backend/model/open-model.ts'
import { tokenBytes } from '../../gpu-backend/model/token-bytes.ts'
import { parseFlags } from '../parse-flags.ts'
import { runScript } from '../run-script.ts'

const HELP = `npx node scripts/bench/response-format.ts

What a response_format adds to each token, on the vocabulary of the embedded model or of the one that POLYLORA_BENCH_MODEL
names. Random texts; the first one meets every state for the first time.
`

const TEXTS = 50
const MAX_TOKENS = 200
const item = {
  type: 'object',
  properties: {
    name: { type: 'string', maxLength: 40 },
    count: { type: 'integer', minimum: 0, maximum: 99 },
    kind: { enum: ['a', 'b', 'c'] },
    note: { type: ['string', 'null'] },
  },
  required: ['name', 'count'],
}
const schema = { type: 'object', properties: { items: { type: 'array', items: item } }, required: ['items'] }
const FORMATS: readonly ResponseFormat[] = [
  { type: 'json_object' },
  { type: 'json_schema', json_schema: { name: 'list', schema } },
]

parseFlags(HELP, {})

await runScript(async () => {
  const { tokenizer } = await openModelSource(process.env.POLYLORA_BENCH_MODEL ?? EMBEDDED_MODEL)
  const vocabulary = tokenBytes(tokenizer.tokenizer) ?? []
  const [trie, trieMs] = timed(() => buildTokenTrie(vocabulary))
  console.log(`${vocabulary.length} tokens, trie built in ${trieMs.toFixed(1)} ms`)
  const grammars = new Grammars(trie)
  for (const format of FORMATS) {
    const [, compileMs] = timed(() => grammars.check(format))
    const end = tokenizer.eosTokenIds[0]!
    const texts = Array.from({ length: TEXTS }, () =>
      randomText(grammars.matcher(format, [end])!, vocabulary.length, end),
    )
    const all = texts.flat().sort((x, y) => x - y)
    const mean = (times: readonly number[]) => (times.reduce((sum, ms) => sum + ms, 0) / times.length).toFixed(3)
    console.log(
      `${format.type}: compiled in ${compileMs.toFixed(1)} ms; ms a token: first text ${mean(texts[0]!)}, ` +
        `all ${mean(all)}, median ${all[all.length >> 1]!.toFixed(3)}, longest ${all.at(-1)!.toFixed(1)}`,
    )
  }
})

/** Milliseconds for each token of a random text under the format. */
function randomText(matcher: GrammarMatcher, vocabularySize: number, end: number): number[] {
  const times: number[] = []
  while (times.length < MAX_TOKENS) {
    const logits = new Float32Array(vocabularySize)
    const [, maskMs] = timed(() => matcher.mask(logits))
    const allowed = [...logits.keys()].filter((id) => logits[id] === 0)
    const token = allowed[Math.floor(Math.random() * allowed.length)]!
    const [, acceptMs] = timed(() => matcher.accept(token))
    times.push(maskMs + acceptMs)
    if (token === end) break
  }
  return times
}

function timed<T>(work: () => T): [T, number] {
  const start = performance.now()
  return [work(), performance.now() - start]
}
