// npm run bench: the real server, the bare decode loop of the same graph and the peers, in one run and in turns.
// Every figure is the median over rounds whose order is turned each time; what is compared was measured side by side.
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { availableParallelism, cpus, tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { EMBEDDED_MODEL } from '../gpu-backend/config.ts'
import { openModelSource } from '../gpu-backend/model/open-model.ts'
import { Tokenizer } from '../gpu-backend/model/tokenizer.ts'
import { WEIGHT_FORMATS } from '../gpu-backend/model/weight-formats.ts'
import { readBandwidth } from './bench/bandwidth.ts'
import { coldStart, disturbed, zipf } from './bench/cold.ts'
import { adaptersOf, type Contender, MODES, type Prompt } from './bench/contender.ts'
import { type Extras, goals, type Row, verdict } from './bench/goals.ts'
import { requirePeers, startPeers } from './bench/peers.ts'
import { picture } from './bench/picture.ts'
import {
  deltaBytes,
  packedBytes,
  type Server,
  type ServerSetup,
  startBackend,
  startLoop,
  startServer,
} from './bench/servers.ts'
import { type Figures, median, summarize } from './bench/timing.ts'
import { CliError } from './cli-error.ts'
import { outFile, parseFlags, someOf, text, wholeNumber, wholeNumbers } from './parse-flags.ts'
import { runScript } from './run-script.ts'

const HELP = `npm run bench -- [options]

Tokens/s, time to the first token and times between tokens of the server, of the bare decode loop of its graph and of the
peers, with the bare base, one shared adapter and all adapters different; and what the goals are held to. The model is the
file or folder that POLYLORA_BENCH_MODEL names, or the embedded one.

  --weights LIST    of f32, f16, int8, int4 (default int8,int4); prefill, cold, disturbed and zipf take the first
  --streams LIST    (default 1,4,8,16,32)
  --modes LIST      (default bare base,one shared,all different)
  --rounds N        (default 3)
  --tokens N        generated for each stream (default 64)
  --peers DIR       compares with vLLM, PEFT and llama.cpp, which "sh scripts/bench/peers/setup.sh DIR" sets up
  --only LIST       of decode, prefill, cold, disturbed, zipf (default all)
  --published N     adapters of the Zipf traffic (default 10000)
  --json FILE       writes the figures there, keeping those of other measurements that it holds
  --svg FILE        draws tokens/s against streams
`

const RANK = 16
const PROMPT = 'Please tell me what I should know about your shop before I order something from you today.'
const LONG_PROMPT_TOKENS = 512
/** The Zipf traffic's server holds so many deltas in memory; a quarter of its memory is for them. */
const DELTAS_IN_MEMORY = 64
const DELTA_SHARE = 4
/** Tokens that running streams get while one more prompt of the benchmark's length is computed, and one to spare. */
const TOKENS_WHILE_ONE_BEGINS = 3
const PARTS = ['decode', 'prefill', 'cold', 'disturbed', 'zipf'] as const

const flags = parseFlags(HELP, {
  weights: someOf(WEIGHT_FORMATS, ['int8', 'int4']),
  streams: wholeNumbers([1, 4, 8, 16, 32]),
  modes: someOf(MODES, MODES),
  rounds: wholeNumber(3),
  tokens: wholeNumber(64, 2),
  peers: text(),
  only: someOf(PARTS, PARTS),
  published: wholeNumber(10_000),
  json: outFile(),
  svg: outFile(),
})

interface Setup extends ServerSetup {
  readonly prompt: Prompt
  readonly longPrompt: Prompt
}

interface Report {
  readonly model: string
  readonly rows: Row[]
  readonly extras: Extras
}

async function main(): Promise<void> {
  if (flags.peers) requirePeers(flags.peers)
  const model = process.env.POLYLORA_BENCH_MODEL ?? EMBEDDED_MODEL
  const report: Report = { model: basename(model), rows: [], extras: {} }
  // What the file holds is wanted at the end; that it cannot be read is told now.
  if (flags.json) known(flags.json, report)
  const dataDir = mkdtempSync(join(tmpdir(), 'polylora-bench-'))
  try {
    const tokenizer = new Tokenizer((await openModelSource(model)).tokenizer)
    const asPrompt = (text: string): Prompt => ({
      text,
      ids: [...tokenizer.encodeChat([{ role: 'user', content: text }])],
    })
    const { streams, only } = flags
    const setup = { model, dataDir, streams, rank: RANK, prompt: asPrompt(PROMPT), longPrompt: longPrompt(asPrompt) }
    process.stdout.write(
      `${model}, rank ${RANK}, ${availableParallelism()} threads of ${cpus()[0]?.model}, medians of ${flags.rounds} rounds\n`,
    )
    report.extras.readBytesPerSecond = await readBandwidth()
    process.stdout.write(`read bandwidth ${(report.extras.readBytesPerSecond / 1e9).toFixed(1)} GB/s\n\n`)
    if (only.some((part) => part !== 'zipf')) await measure(setup, only, report)
    if (only.includes('zipf')) await measureZipf(setup, report)
  } finally {
    rmSync(dataDir, { recursive: true, force: true })
  }
  printGoals(save(report))
}

async function measure(setup: Setup, only: readonly string[], report: Report): Promise<void> {
  const servers: Server[] = []
  const contenders: Contender[] = []
  try {
    for (const weights of flags.weights) {
      const server = await startServer(setup, weights)
      servers.push(server)
      contenders.push(server.contender, await startLoop(setup, weights))
    }
    const [{ backend, base, digests, deltas }] = servers as [Server]
    report.extras.deltaBytes = deltaBytes(base, RANK)
    if (flags.peers) {
      const workDir = join(setup.dataDir, 'peers')
      const options = { ...setup, venv: flags.peers, workDir, deltas }
      contenders.push(...(await startPeers(options, (line) => void process.stdout.write(`${line}\n`))))
    } else process.stdout.write('vLLM, PEFT and llama.cpp are skipped: name their folder with --peers.\n\n')
    if (only.includes('decode')) await measureDecode(contenders, setup, report)
    if (only.includes('prefill')) await measurePrefill(contenders, setup, report)
    if (only.includes('cold')) {
      const { addedTtftMs, memoryOverBytes } = await coldStart(backend, base, RANK)
      report.extras.coldTtftMs = addedTtftMs
      report.extras.memoryOverBytes = memoryOverBytes
    }
    if (only.includes('disturbed'))
      report.extras.disturbedP99OverP50 = await disturbed(backend, base, RANK, digests, PROMPT)
  } finally {
    for (const contender of contenders) await contender.stop()
  }
}

async function measureDecode(contenders: readonly Contender[], setup: Setup, report: Report): Promise<void> {
  process.stdout.write('who                 mode           streams  tokens/s  TTFT ms  p50 ms  p99 ms\n')
  for (const mode of flags.modes) {
    for (const count of setup.streams) {
      const taking = contenders.filter((one) => one.modes.includes(mode) && one.streams(mode).includes(count))
      const load = { adapters: adaptersOf(mode, count), prompt: setup.prompt, tokens: flags.tokens }
      const figures = new Map<Contender, Figures[]>(taking.map((one) => [one, []]))
      // Once to warm up: adapters are read, operators choose their paths.
      for (const one of taking) await one.generate({ ...load, tokens: 4 })
      for (let round = 0; round < flags.rounds; round++) {
        for (const one of round % 2 === 0 ? taking : taking.toReversed())
          figures.get(one)!.push(summarize(await one.generate({ ...load, tokens: tokensFor(one, count) })))
      }
      for (const [{ name }, measured] of figures) {
        const row: Row = { contender: name, mode, streams: count, ...medians(measured) }
        report.rows.push(row)
        process.stdout.write(`${formatRow(row)}\n`)
      }
      save(report)
    }
  }
}

async function measurePrefill(contenders: readonly Contender[], { longPrompt }: Setup, report: Report): Promise<void> {
  const rate = async (name: string) => {
    const one = contenders.find((contender) => contender.name === name)
    if (!one) return undefined
    const waits: number[] = []
    for (let i = 0; i < 5; i++)
      waits.push(summarize(await one.generate({ adapters: [0], prompt: longPrompt, tokens: 2 })).ttftMs)
    return longPrompt.ids.length / (median(waits) / 1000)
  }
  report.extras.prefillTokensPerSecond = await rate(contenders[0]!.name)
  report.extras.peerPrefillTokensPerSecond = await rate('vLLM with LoRA')
}

async function measureZipf(setup: Setup, report: Report): Promise<void> {
  const weights = flags.weights[0]!
  const memory = Math.ceil(DELTAS_IN_MEMORY * DELTA_SHARE * (await packedBytes(setup, weights)))
  const backend = await startBackend(setup, weights, ['--max-batch', '16', '--memory', String(memory), '--disk', '1TB'])
  try {
    const { base } = await backend.info()
    report.extras.zipfOverInMemory = await zipf(backend, base, RANK, flags.published, PROMPT)
  } finally {
    await backend.stop()
  }
}

function tokensFor({ promptsInTurn }: Contender, streams: number): number {
  return flags.tokens + (promptsInTurn ? TOKENS_WHILE_ONE_BEGINS * (streams - 1) : 0)
}

/** As many sentences as make a prompt of at least so many tokens. */
function longPrompt(asPrompt: (text: string) => Prompt): Prompt {
  const sentences: string[] = []
  for (;;) {
    const prompt = asPrompt(sentences.join(' '))
    if (prompt.ids.length >= LONG_PROMPT_TOKENS) return prompt
    sentences.push(`${sentences.length + 1}. ${PROMPT}`)
  }
}

function medians(measured: readonly Figures[]): Figures {
  const of = (key: keyof Figures) => median(measured.map((figures) => figures[key]))
  return {
    tokensPerSecond: of('tokensPerSecond'),
    ttftMs: of('ttftMs'),
    interTokenP50Ms: of('interTokenP50Ms'),
    interTokenP99Ms: of('interTokenP99Ms'),
  }
}

/** Writes what was measured so far; with it, what --json's file holds of the same model and was not measured now. */
function save(report: Report): Report {
  const whole = flags.json ? { ...report, ...known(flags.json, report) } : report
  if (flags.json) writeFileSync(flags.json, `${JSON.stringify({ ...whole, rank: RANK }, null, 2)}\n`)
  // One kind of weights and the peers: more lines could not be told apart.
  const server = `server ${flags.weights[0]}`
  const isDrawn = ({ contender }: Row) => contender === server || !/^(server|loop) /.test(contender)
  if (flags.svg) writeFileSync(flags.svg, picture(whole.rows.filter(isDrawn)))
  return whole
}

function known(path: string, { model, rows, extras }: Report): Pick<Report, 'rows' | 'extras'> {
  const file = existsSync(path) ? parseReport(path) : undefined
  if (file?.model !== model) return { rows, extras }
  const sameRow = (x: Row) => (y: Row) => x.contender === y.contender && x.mode === y.mode && x.streams === y.streams
  return {
    rows: [...file.rows.filter((row) => !rows.some(sameRow(row))), ...rows],
    extras: { ...file.extras, ...extras },
  }
}

function parseReport(path: string): Report {
  try {
    return JSON.parse(readFileSync(path, 'utf8')) as Report
  } catch {
    throw new CliError(`--json ${path}: what is there is not of this benchmark; give another file, or remove it.`, 2)
  }
}

function formatRow(row: Row): string {
  const number = (value: number, width: number, digits = 0) => value.toFixed(digits).padStart(width)
  return [
    row.contender.padEnd(18),
    row.mode.padEnd(14),
    number(row.streams, 8),
    number(row.tokensPerSecond, 9, 1),
    number(row.ttftMs, 8),
    number(row.interTokenP50Ms, 7, 1),
    number(row.interTokenP99Ms, 7, 1),
  ].join(' ')
}

/** For each kind of weights: whether a figure reaches its goal, at least its floor, or falls short. */
function printGoals({ rows, extras }: Report): void {
  for (const [i, weights] of flags.weights.entries()) {
    process.stdout.write(`\n${weights.padEnd(53)}  floor   goal  measured\n`)
    // What was measured beside the rows was measured with the first.
    for (const goal of goals(rows, i === 0 ? extras : machineOf(extras), `server ${weights}`, `loop ${weights}`)) {
      if (goal.value === undefined) continue
      const numbers = [String(goal.floor).padStart(6), String(goal.goal).padStart(6), goal.value.toFixed(2).padStart(9)]
      process.stdout.write(`${goal.name.padEnd(53)} ${numbers.join(' ')}  ${verdict(goal)}\n`)
    }
  }
}

function machineOf({ readBytesPerSecond, deltaBytes }: Extras): Extras {
  return { readBytesPerSecond, deltaBytes }
}

await runScript(main)
