// Whether a vLLM server is one that this backend can use: the same base model, the shared directory, ranks and modules.
// Method: it is asked. Where its model's directory can be seen from here, that must have the base model's fingerprint. Its
// weights in memory cannot be read: a fixed text's likeliest tokens stand for them, and must be those that were noted when
// the first server was used with this base model.
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import * as z from 'zod/mini'
import { type BaseModel, targetModules, targetName } from '../../../adapters/base-model.ts'
import { StartupError } from '../../errors.ts'
import { log } from '../../log.ts'
import { identify } from '../../model/identify.ts'
import { openModelSource } from '../../model/open-model.ts'
import type { Tokenizer } from '../../model/tokenizer.ts'
import { blankAdapter } from './blank-adapter.ts'
import { type VllmClient, VllmRefusal } from './vllm-client.ts'

/** Words, numbers, other scripts and code: where tokenizers and models differ. */
const PROBE =
  'The quick brown fox jumps over 13 lazy dogs; Übung macht den Meister. def f(x): return x ** 2 + 3.14\n\n' +
  'Dear customer, thank you for your order of 24 July. We are sorry to hear that the parcel arrived late.'
/** The text is cut at so many places, and after each the likeliest tokens are asked for. */
const PLACES = 8
const LIKELIEST = 5
/** What counts for a token that is among the likeliest of one server only. */
const ABSENT = 2
/** Largest mean difference of log probabilities that is still the same base in another precision. */
const MAX_MEAN_DIFFERENCE = 0.25
/** Modules besides the projections, which vLLM applies for some architectures only. */
const DOUBTFUL_MODULES = ['model.embed_tokens', 'lm_head']

const PROJECTION = 'model.layers.0.self_attn.q_proj'
/** Directory, and beginning of the name, of the adapter that changes nothing. */
const BARE = 'polylora-bare'

/** For each place, the likeliest tokens. */
const Probe = z.array(z.record(z.string(), z.number()))
type Probe = z.infer<typeof Probe>

export interface ServerRequirements {
  readonly base: BaseModel
  readonly tokenizer: Tokenizer
  readonly contextTokens: number
  readonly maxRank: number
  /** Shared with the server, under the same path. */
  readonly sharedDir: string
  /** Where the noted log probabilities are kept. */
  readonly dataDir: string
  /** Ask for the bare base as for an adapter that changes nothing. */
  readonly baseAsAdapter: boolean
}

export interface CheckedServer {
  /** What to ask for the bare base model under. */
  readonly baseName: string
  /** Modules, by `targetName`, that it cannot change. */
  readonly fixedModules: readonly string[]
}

/** @throws StartupError in one sentence, where the server is the wrong one; VllmLost, where it cannot be asked */
export async function checkServer(
  client: VllmClient,
  name: string,
  required: ServerRequirements,
): Promise<CheckedServer> {
  const models = (await client.models()).filter(({ parent }) => !parent)
  const [served] = models
  if (!served) throw new StartupError(`The vLLM server at ${name} serves no base model.`)
  const context = served.max_model_len ?? 0
  if (context < required.contextTokens) {
    throw new StartupError(
      `The vLLM server at ${name} has a context of ${context} tokens, but ${required.contextTokens} are needed: start it with --max-model-len ${required.contextTokens} or this backend with --context ${context}.`,
    )
  }
  if (served.root) await checkDirectory(name, served.root, required)
  await checkTokenizer(client, name, served.id, required)
  const fixedModules = await checkAdapters(client, name, required)
  const baseName = required.baseAsAdapter ? await loadBare(client, required) : served.id
  await checkWeights(client, name, baseName, required)
  return { baseName, fixedModules }
}

/** What it says it serves, where that lies on this machine or one that is mounted here. */
async function checkDirectory(name: string, root: string, { base, dataDir }: ServerRequirements): Promise<void> {
  if (!existsSync(root)) return
  const { fingerprint } = await identify(await openModelSource(root), base.name, join(dataDir, 'models'))
  if (fingerprint === base.fingerprint) return
  throw new StartupError(
    `The vLLM server at ${name} serves ${root}, which is another base model than --model: start it with the same one.`,
  )
}

async function checkTokenizer(
  client: VllmClient,
  name: string,
  model: string,
  { tokenizer }: ServerRequirements,
): Promise<void> {
  if (tokenizer.encode(PROBE).join() === (await client.tokenize(model, PROBE)).join()) return
  throw new StartupError(
    `The vLLM server at ${name} has another tokenizer than --model: start it with the same base model.`,
  )
}

/** `model`: what the bare base is asked for under. */
async function checkWeights(
  client: VllmClient,
  name: string,
  model: string,
  { base, tokenizer, dataDir }: ServerRequirements,
): Promise<void> {
  const ours = Array.from(tokenizer.encode(PROBE))
  const probe: Probe = []
  for (let place = 1; place <= PLACES; place++) {
    const prompt = ours.slice(0, Math.ceil((ours.length * place) / PLACES))
    probe.push(await client.likeliest(model, prompt, LIKELIEST))
  }
  const file = join(dataDir, 'probes', `${base.fingerprint.slice('sha256:'.length)}.json`)
  const noted = tryRead(file)
  if (!noted) {
    mkdirSync(join(dataDir, 'probes'), { recursive: true })
    writeFileSync(`${file}.writing`, JSON.stringify(probe))
    renameSync(`${file}.writing`, file)
    log('info', 'vllm_base_noted', { replica: name, base: base.fingerprint, file })
    return
  }
  const difference = meanDifference(noted, probe)
  if (difference <= MAX_MEAN_DIFFERENCE) return
  throw new StartupError(
    `The vLLM server at ${name} serves other weights than were noted in ${file} for this base (log probabilities differ by ${difference.toFixed(2)} on average): start it with the model in --model, or delete the file if the noted server was the wrong one.`,
  )
}

function meanDifference(noted: Probe, found: Probe): number {
  const differences = noted.flatMap((likeliest, place) =>
    Object.entries(likeliest).map(([token, value]) => {
      const other = found[place]?.[token]
      return other === undefined ? ABSENT : Math.min(ABSENT, Math.abs(value - other))
    }),
  )
  return differences.reduce((sum, value) => sum + value, 0) / differences.length
}

/** What was noted; undefined where nothing was, or a crash of the machine has left the file without what was written. */
function tryRead(file: string): Probe | undefined {
  if (!existsSync(file)) return undefined
  try {
    return Probe.parse(JSON.parse(readFileSync(file, 'utf8')))
  } catch {
    return undefined
  }
}

/**
 * The name of an adapter that changes nothing. vLLM's kernels for CPUs (torch_ops, 0.32) take the last slot's adapter for a
 * row that has none, so there a request for the bare base would be answered with some customer's adapter.
 */
async function loadBare(client: VllmClient, { base, sharedDir }: ServerRequirements): Promise<string> {
  const path = join(sharedDir, BARE)
  // First, and whatever the server knows: one that has lost an adapter from its memory reads the files again, and dies
  // where there are none.
  await blankAdapter(path, base, PROJECTION, 1)
  // Loaded by an earlier life of ours or by another backend of the same server, it may be at work.
  const known = (await client.models()).find(({ id, root }) => id.startsWith(BARE) && root === path)
  if (known) return known.id
  const name = `${BARE}-${crypto.randomUUID().slice(0, 8)}`
  await client.loadAdapter(name, path)
  return name
}

/** Loads adapters that change nothing: one of the largest rank, and one for each module that may be fixed. */
async function checkAdapters(client: VllmClient, name: string, required: ServerRequirements): Promise<string[]> {
  const { base, maxRank, sharedDir } = required
  const reason = await tryAdapter(client, required, PROJECTION, maxRank)
  if (reason instanceof VllmRefusal) {
    if (/No adapter found/.test(reason.message)) {
      throw new StartupError(
        `The vLLM server at ${name} does not see ${sharedDir}: mount that directory there under the same path, or give another with --vllm-shared-dir.`,
      )
    }
    if (reason.status === 404) {
      throw new StartupError(
        `The vLLM server at ${name} takes no adapters while it runs: start it with --enable-lora and VLLM_ALLOW_RUNTIME_LORA_UPDATING=1.`,
      )
    }
    throw new StartupError(
      `The vLLM server at ${name} refuses an adapter of rank ${maxRank}: ${reason.message}; start it with a larger --max-lora-rank or this backend with a smaller --max-rank.`,
    )
  }
  const fixed: string[] = []
  for (const module of DOUBTFUL_MODULES) {
    if (!targetModules(base).has(module)) continue
    if (await tryAdapter(client, required, module, 1)) fixed.push(targetName(module))
  }
  return fixed
}

/** Why the server does not load an adapter for `module`; undefined when it does. */
async function tryAdapter(
  client: VllmClient,
  { base, sharedDir }: ServerRequirements,
  module: string,
  rank: number,
): Promise<VllmRefusal | undefined> {
  const name = `polylora-probe-${crypto.randomUUID()}`
  const path = join(sharedDir, `${name}.probe`)
  try {
    await blankAdapter(path, base, module, rank)
    await client.loadAdapter(name, path)
    await client.unloadAdapter(name)
    return undefined
  } catch (error) {
    if (error instanceof VllmRefusal) return error
    throw error
  } finally {
    await rm(path, { recursive: true, force: true })
  }
}
