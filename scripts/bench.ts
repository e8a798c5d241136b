// npm run bench: the real server, the bare decode loop of the same graph and the peers, in one run and in turns.
// Every figure is the median over rounds whose order is turned each time; what is compared was measured side by side.
import { availableParallelism, cpus, tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { EMBEDDED_MODEL } from '../gpu-backend/config.ts'
import { openModelSource } from '../gpu-backend/model/open-model.ts'
import { Tokenizer } from '../gpu-backend/model/tokenizer.ts'
import { WEIGHT_FORMATS } from '../gpu-backend/model/weight-formats.ts'
import { readBandwidth } from './bench/bandwidth.ts'
import { coldStart, disturbed, zipf } from './bench/cold.ts'
import { adaptersOf, type Contender, MODES, type Mode, type Prompt } from './bench/contender.ts'
import { type Added, addedByDeltas, differentOverShared } from './bench/deltas.ts'
import type { Row } from './bench/goals.ts'
import type { PairedLoad } from './bench/in-pairs.ts'
import { Peers, requirePeers } from './bench/peers.ts'
import { untilQuiet } from './bench/quiet.ts'
import { HEADER, Report } from './bench/report.ts'
import { sampledOverGreedy, WAYS } from './bench/sampled.ts'
import { serverOverLoop } from './bench/server-over-loop.ts'
import {
  CONTEXT_TOKENS,
  deltaBytes,
  packedBytes,
  type Server,
  type ServerSetup,
  startBackend,
  startLoop,
  startServer,
} from './bench/servers.ts'
import { type Figures, median, medians, summarize } from './bench/timing.ts'
import { callersFolder } from './callers-folder.ts'
import { outFile, parseFlags, someOf, text, wholeNumber, wholeNumbers } from './parse-flags.ts'
import { passingFolder } from './passing-folder.ts'
import { runScript } from './run-script.ts'

const HELP = `npm run bench -- [options]

Tokens/s, time to the first token and times between tokens of the server, of the bare decode loop of its graph and of the
peers, with the bare base, one shared adapter and all adapters different; and what the goals are held to. The model is the
file or folder that POLYLORA_BENCH_MODEL names, or the embedded one.

  --weights LIST    of f32, f16, int8, int4 (default int8,int4); all but decode take the first
  --streams LIST    (default 1,4,8,16,32)
  --modes LIST      (default bare base,one shared,all different)
  --rounds N        (default 3)
  --tokens N        generated for each stream (default 64)
  --peers DIR       compares with vLLM, PEFT and llama.cpp, which "sh scripts/bench/peers/setup.sh DIR" sets up
  --only LIST       of decode, loop, deltas, sampled, prefill, cold, disturbed, zipf (default all)
  --published N     adapters of the Zipf traffic (default 10000)
  --json FILE       writes the figures there, keeping those of other measurements that it holds
  --svg FILE        draws tokens/s against streams
`

const RANK = 16
/** Numbers of streams at which the server is compared with its loop. */
const LOOP_STREAMS = [1, 32]
/** Numbers of streams at which different adapters are compared with one, and with none, and a temperature with none. */
const SHARED_STREAMS = 16
const BARE_STREAMS = [8, 32]
/** Pairs of runs for each round: they are short, and differ more from each other than what is looked for. */
const PAIRS_A_ROUND = 3
const PROMPT = 'Please tell me what I should know about your shop before I order something from you today.'
const LONG_PROMPT_TOKENS = 512
/** The Zipf traffic's server holds so many deltas in memory; a quarter of its memory is for them. */
const DELTAS_IN_MEMORY = 64
const DELTA_SHARE = 4
/** Tokens that running streams get while one more prompt of the benchmark's length is computed, and one to spare. */
const TOKENS_WHILE_ONE_BEGINS = 3
const PARTS = ['decode', 'loop', 'deltas', 'sampled', 'prefill', 'cold', 'disturbed', 'zipf'] as const

process.chdir(callersFolder('bench', process.env))
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

async function main(): Promise<void> {
  if (flags.peers) requirePeers(flags.peers)
  const model = process.env.POLYLORA_BENCH_MODEL ?? EMBEDDED_MODEL
  const report = new Report(basename(model), RANK, flags)
  const { path: dataDir, release } = passingFolder(tmpdir())
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
    process.stdout.write(`read bandwidth ${((await readBandwidth()) / 1e9).toFixed(1)} GB/s\n\n`)
    if (only.some((part) => part !== 'zipf')) await measure(setup, only, report)
    if (only.includes('zipf')) await measureZipf(setup, report)
    report.save()
  } finally {
    await release()
  }
  process.stdout.write(report.goals())
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
    if (only.includes('loop')) await measureOverLoop(contenders, setup, report)
    if (only.includes('deltas')) await measureDeltas(contenders, deltaBytes(base, RANK), setup, report)
    if (only.includes('sampled')) await measureSampled(servers[0]!, setup, report)
    const peers = await preparePeers(setup, deltas)
    if (only.includes('decode')) await measureDecode(contenders, peers, setup, report)
    if (only.includes('prefill')) await measurePrefill(contenders[0]!, peers, setup, report)
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

/** `server` and `loop` of one kind of weights. */
async function measureOverLoop([server, loop]: readonly Contender[], setup: Setup, report: Report): Promise<void> {
  for (const streams of LOOP_STREAMS.filter((count) => setup.streams.includes(count))) {
    const ratios = await serverOverLoop(server!, loop!, pairedLoad(server!, streams, setup))
    tell(`server over its loop, bare base, ${streams} streams`, ratios)
    report.extras.serverOverLoop = { ...report.extras.serverOverLoop, [streams]: median(ratios) }
  }
  process.stdout.write('\n')
}

/** `server` and `loop` of one kind of weights, with deltas of `bytes` each. */
async function measureDeltas(
  [server, loop]: readonly Contender[],
  bytes: number,
  setup: Setup,
  report: Report,
): Promise<void> {
  if (setup.streams.includes(SHARED_STREAMS)) {
    const ratios = await differentOverShared(server!, pairedLoad(server!, SHARED_STREAMS, setup))
    tell(`server, all different over one shared, ${SHARED_STREAMS} streams`, ratios)
    report.extras.differentOverShared = median(ratios)
  }
  for (const streams of BARE_STREAMS.filter((count) => setup.streams.includes(count))) {
    const pairs = await addedByDeltas(loop!, pairedLoad(loop!, streams, setup), bytes)
    const told = (what: string, of: (added: Added) => number) => {
      const values = pairs.map(of)
      tell(`loop, ${streams} streams, ${what}`, values)
      return median(values)
    }
    const added: Added = {
      ms: told('ms that different deltas add to a step', ({ ms }) => ms),
      readBytesPerSecond: 1e9 * told('GB/s read meanwhile', ({ readBytesPerSecond }) => readBytesPerSecond / 1e9),
      overReading: told('time of the deltas over reading them once', ({ overReading }) => overReading),
    }
    report.extras.addedByDeltas = { ...report.extras.addedByDeltas, [streams]: added }
  }
  process.stdout.write('\n')
}

async function measureSampled(
  { backend, contender }: Server,
  { streams, prompt }: Setup,
  report: Report,
): Promise<void> {
  for (const count of BARE_STREAMS.filter((count) => streams.includes(count))) {
    const load = { streams: count, prompt, tokens: tokensFor(contender, count), pairs: flags.rounds }
    for (const [name, way] of Object.entries(WAYS)) {
      const ratios = await sampledOverGreedy(backend, load, way)
      tell(`server, ${name} over greedy, bare base, ${count} streams`, ratios)
      const known = report.extras.sampledOverGreedy ?? {}
      report.extras.sampledOverGreedy = { ...known, [name]: { ...known[name], [count]: median(ratios) } }
    }
  }
  process.stdout.write('\n')
}

function tell(what: string, values: readonly number[]): void {
  process.stdout.write(`${what}: ${values.map((value) => value.toFixed(2)).join(' ')}\n`)
}

async function preparePeers(setup: Setup, deltas: readonly Uint8Array[]): Promise<Peers | undefined> {
  if (flags.peers) {
    const workDir = join(setup.dataDir, 'peers')
    const options = { ...setup, venv: flags.peers, workDir, deltas, contextTokens: CONTEXT_TOKENS }
    return Peers.prepare(options, (line) => void process.stdout.write(`${line}\n`))
  }
  process.stdout.write('vLLM, PEFT and llama.cpp are skipped: name their folder with --peers.\n\n')
  return undefined
}

async function measureDecode(
  ours: readonly Contender[],
  peers: Peers | undefined,
  setup: Setup,
  report: Report,
): Promise<void> {
  process.stdout.write(HEADER)
  for (const mode of flags.modes) {
    const measure = (theirs: readonly Contender[]) => measureMode(mode, [...ours, ...theirs], setup, report)
    await (peers ? peers.during(mode, measure) : measure([]))
  }
}

async function measureMode(mode: Mode, contenders: readonly Contender[], setup: Setup, report: Report): Promise<void> {
  for (const count of setup.streams) {
    const taking = contenders.filter(({ streams }) => streams.includes(count))
    const load = { adapters: adaptersOf(mode, count), prompt: setup.prompt, tokens: flags.tokens }
    const figures = new Map<Contender, Figures[]>(taking.map((one) => [one, []]))
    // Once to warm up: adapters are read, operators choose their paths.
    for (const one of taking) await one.generate({ ...load, tokens: 4 })
    for (let round = 0; round < flags.rounds; round++) {
      for (const one of round % 2 === 0 ? taking : taking.toReversed()) {
        await untilQuiet()
        figures.get(one)!.push(summarize(await one.generate({ ...load, tokens: tokensFor(one, count) })))
      }
    }
    for (const [{ name }, measured] of figures) {
      const row: Row = { contender: name, mode, streams: count, ...medians(measured) }
      process.stdout.write(`${report.add(row)}\n`)
    }
    report.save()
  }
}

async function measurePrefill(
  server: Contender,
  peers: Peers | undefined,
  { longPrompt }: Setup,
  report: Report,
): Promise<void> {
  const rate = async (one: Contender | undefined) => {
    if (!one) return undefined
    const waits: number[] = []
    for (let i = 0; i < 5; i++)
      waits.push(summarize(await one.generate({ adapters: [0], prompt: longPrompt, tokens: 2 })).ttftMs)
    return longPrompt.ids.length / (median(waits) / 1000)
  }
  report.extras.prefillTokensPerSecond = await rate(server)
  const theirs = peers?.during('all different', ([engine]) => rate(engine), 'vLLM engine with LoRA')
  report.extras.peerPrefillTokensPerSecond = await theirs
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

function pairedLoad(contender: Contender, streams: number, { prompt }: Setup): PairedLoad {
  return { streams, prompt, tokens: tokensFor(contender, streams), pairs: PAIRS_A_ROUND * flags.rounds }
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

await runScript(main)
