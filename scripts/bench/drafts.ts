// npx node scripts/bench/drafts.ts: what it gives that a sequence alone has tokens tried before they are known. Every figure is of
// the real backend over HTTP.
import { readFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import * as z from 'zod'
import type { BaseModel } from '../../adapters/base-model.ts'
import { encodeDelta } from '../../adapters/canonical.ts'
import { loadDelta } from '../../adapters/delta-source.ts'
import { digestOf } from '../../adapters/digest.ts'
import { importAdapter } from '../../adapters/import-adapter.ts'
import { EMBEDDED_MODEL } from '../../gpu-backend/config.ts'
import { SamplingParams } from '../../gpu-backend/protocol.ts'
import { openAdapterPath } from '../directory-files.ts'
import { oneOf, parseFlags, wholeNumber } from '../parse-flags.ts'
import { passingFolder } from '../passing-folder.ts'
import { runScript } from '../run-script.ts'
import { listSamples } from '../start/samples.ts'
import { BackendProcess } from './backend-process.ts'
import { median } from './timing.ts'

const HELP = `npx node scripts/bench/drafts.ts [options]

Questions one after another, the same ones again in every round: asked by another tenant each time, whose drafts come from the
text itself alone, and all by one tenant, whose drafts come from earlier answers as well. Of the embedded model the sample
adapters are asked their held-out questions; of the one that POLYLORA_BENCH_MODEL names, the bare base some others.

  --temperature T  0, 0.7 or 1 (default 0.7)
  --rounds N       at least 2 (default 5)
  --tokens N       of an answer at most (default 200)
`

const DOCUMENT = `Returns: you may return any unused item within 30 days of delivery for a full refund. Items must be in their
original packaging. Shipping costs are not refunded unless the item is faulty. To start a return, write to us with your order
number. Exchanges: we exchange sizes free of charge within 60 days.`

const QUESTIONS = [
  'What is your return policy?',
  'Where is my order? It should have come on Monday.',
  'Write an email to a customer whose order is late.',
  'Write a list of ten tips for saving energy at home.',
  `Answer from this text: ${DOCUMENT}\nQuestion: how do I return an item, and who pays for shipping?`,
  `Here is our policy: ${DOCUMENT}\nQuote what it says of returns word for word.`,
  `Summarise in two sentences: ${DOCUMENT}`,
  'Describe a blue ceramic coffee mug for a shop, in our brand voice: warm and brief.',
]

const HELD_OUT = join(import.meta.dirname, '../../test/fixtures/held-out')
const HeldOut = z.object({ items: z.array(z.object({ question: z.string() })) })

const flags = parseFlags(HELP, {
  temperature: oneOf(['0', '0.7', '1'], '0.7'),
  rounds: wholeNumber(5, 2),
  tokens: wholeNumber(200),
})

interface Question {
  readonly delta: string | null
  readonly content: string
}

interface Asked {
  readonly tokensPerSecond: number
  readonly tokensPerStep: number
  readonly rightShare: number
}

/** Publishes the sample adapters; their held-out questions. */
async function sampleQuestions(backend: BackendProcess, base: BaseModel): Promise<Question[]> {
  const questions: Question[] = []
  for (const { tenant, folder } of listSamples()) {
    const bytes = encodeDelta(await loadDelta(await importAdapter(await openAdapterPath(folder), { base })), base)
    const delta = await digestOf(bytes)
    await backend.admit(delta, bytes)
    const { items } = HeldOut.parse(JSON.parse(readFileSync(join(HELD_OUT, `${tenant}.json`), 'utf8')))
    questions.push(...items.map(({ question }) => ({ delta, content: question })))
  }
  return questions
}

/** All questions in turn, by `tenant` or each by another. */
async function askAll(
  backend: BackendProcess,
  questions: readonly Question[],
  round: number,
  tenant: string | undefined,
): Promise<Asked> {
  const counts = () =>
    Promise.all(['sampled', 'draft', 'accepted_draft'].map((kind) => backend.metric(`polylora_${kind}_tokens_total`)))
  const steps = () => backend.metric('polylora_decode_steps_total')
  const before = { counts: await counts(), steps: await steps() }
  let decodingMs = 0
  for (const [index, { delta, content }] of questions.entries()) {
    const params = { temperature: Number(flags.temperature), max_tokens: flags.tokens, seed: 1000 * round + index }
    const messages = [{ role: 'user' as const, content }]
    const request = { delta, messages, n: 1, sampling: SamplingParams.parse(params) }
    const { tokenTimesMs } = await backend.generate(request, tenant)
    decodingMs += tokenTimesMs.at(-1)! - tokenTimesMs[0]!
  }
  const [sampled, drafted, accepted] = (await counts()).map((count, i) => count - before.counts[i]!) as [
    number,
    number,
    number,
  ]
  // The first token of each answer comes from its prompt.
  const tokens = sampled - questions.length
  return {
    tokensPerSecond: tokens / (decodingMs / 1000),
    tokensPerStep: tokens / ((await steps()) - before.steps),
    rightShare: accepted / Math.max(1, drafted),
  }
}

await runScript(async () => {
  const model = process.env.POLYLORA_BENCH_MODEL
  const { path: dataDir, release } = passingFolder(tmpdir())
  const args = ['--model', model ?? EMBEDDED_MODEL, '--data-dir', dataDir, '--weights', 'int8', '--context', '1024']
  const backend = await BackendProcess.start(args)
  try {
    const { base } = await backend.info()
    const questions = model
      ? QUESTIONS.map((content) => ({ delta: null, content }))
      : await sampleQuestions(backend, base)
    const [strangers, one]: [Asked[], Asked[]] = [[], []]
    for (let round = 1; round <= flags.rounds; round++) {
      strangers.push(await askAll(backend, questions, round, undefined))
      tell(`round ${round}, another tenant each`, strangers.slice(-1))
      one.push(await askAll(backend, questions, round, 'one tenant'))
      tell(`round ${round}, one tenant`, one.slice(-1))
    }
    tell('medians, another tenant each', strangers)
    tell('medians from the second round on, one tenant', one.slice(1))
  } finally {
    await backend.stop()
    await release()
  }
})

function tell(what: string, asked: readonly Asked[]): void {
  const of = (key: keyof Asked) => median(asked.map((one) => one[key]))
  process.stdout.write(
    `${what.padEnd(46)} ${of('tokensPerSecond').toFixed(0).padStart(5)} tokens/s  ${of('tokensPerStep').toFixed(2)} tokens a step  ` +
      `${(100 * of('rightShare')).toFixed(0).padStart(3)}% of the tokens tried were right\n`,
  )
}
