// What this backend counts, in Prometheus' text format at /metrics. Names and units follow vLLM's and Prometheus' habits.
// Adapters are labels up to a bound; the rest are counted together, so that a thousand customers cannot fill the store.
import { Counter, Gauge, Histogram, Registry } from 'prom-client'
import type { Engine, EngineStats } from './engine/engine.ts'
import type { ErrorCode, Tier } from './protocol.ts'

/** Adapters that get a label of their own; later ones are "other". */
const MAX_ADAPTER_LABELS = 200
const SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60]

/** What is known of an answer when it begins. */
export interface StartOfAnswer {
  readonly queueMs: number
  readonly tier: Tier | null
  /** Where this request set the reading of its delta off. */
  readonly loadMs: number | undefined
}

interface TokenCounts {
  readonly prompt?: number
  readonly cached?: number
  readonly output?: number
}

export class Metrics {
  readonly #registry = new Registry()
  readonly #labels = new Set<string>()
  readonly #requests = new Counter({
    name: 'polylora_requests_total',
    help: 'Requests answered, by route and HTTP status; 499: the client left before anything was sent.',
    labelNames: ['route', 'status'],
    registers: [this.#registry],
  })
  readonly #errors = new Counter({
    name: 'polylora_generation_errors_total',
    help: 'Answers that ended with an error after they had begun, by its code: their HTTP status was 200.',
    labelNames: ['code'],
    registers: [this.#registry],
  })
  readonly #promptTokens = this.#tokenCounter('polylora_prompt_tokens_total', 'Tokens of prompts.')
  readonly #cachedTokens = this.#tokenCounter(
    'polylora_cached_prompt_tokens_total',
    'Prompt tokens taken from the prefix cache.',
  )
  readonly #outputTokens = this.#tokenCounter(
    'polylora_generation_tokens_total',
    'Tokens of the texts that went to clients, those that left in the middle included.',
  )
  readonly #tiers = new Counter({
    name: 'polylora_adapter_requests_total',
    help: 'Requests by the tier in which they found their adapter.',
    labelNames: ['adapter', 'tier'],
    registers: [this.#registry],
  })
  readonly #queue = this.#histogram('polylora_queue_seconds', 'From arrival to a row of the batch.')
  readonly #loads = this.#histogram('polylora_adapter_load_seconds', 'Reading an adapter from disk.')
  readonly #firstToken = this.#histogram('polylora_time_to_first_token_seconds', 'From arrival to the first text.')
  readonly #nextToken = this.#histogram('polylora_inter_token_seconds', 'Between one text of an answer and the next.')

  /** Reads the engine's figures, and what else it has to say. */
  readonly #refresh: () => Promise<string>

  constructor(engine: Engine) {
    const gauges = GAUGES.map(([name, help, read]) => {
      const gauge = new Gauge({ name, help, registers: [this.#registry] })
      return (stats: EngineStats) => gauge.set(read(stats))
    })
    const counters = COUNTERS.map(([name, help, read]) => {
      const counter = new Counter({ name, help, registers: [this.#registry] })
      return (stats: EngineStats) => {
        counter.reset()
        counter.inc(read(stats))
      }
    })
    this.#refresh = async () => {
      const stats = await engine.stats()
      for (const update of [...gauges, ...counters]) update(stats)
      return engine.metrics()
    }
  }

  /** A request has been answered. */
  request(route: string, status: number): void {
    this.#requests.inc({ route, status: String(status) })
  }

  /** An answer that had begun has ended with an error. */
  failed(code: ErrorCode): void {
    this.#errors.inc({ code })
  }

  /** A request has got its row of the batch, having found its delta in `tier`. */
  started(delta: string | null, { queueMs, tier, loadMs }: StartOfAnswer): void {
    const adapter = this.#label(delta)
    this.#queue.observe({ adapter }, queueMs / 1000)
    if (tier !== null) this.#tiers.inc({ adapter, tier })
    if (loadMs !== undefined) this.#loads.observe({ adapter }, loadMs / 1000)
  }

  /** The first text of an answer has left, `ms` after the request arrived. */
  firstToken(delta: string | null, ms: number): void {
    this.#firstToken.observe({ adapter: this.#label(delta) }, ms / 1000)
  }

  /** Another text of an answer has left, `ms` after the one before. */
  nextToken(delta: string | null, ms: number): void {
    this.#nextToken.observe({ adapter: this.#label(delta) }, ms / 1000)
  }

  /** As they come: tokens of a prompt, those of them that were cached, and tokens of an answer. */
  tokens(delta: string | null, { prompt, cached, output }: TokenCounts): void {
    const adapter = this.#label(delta)
    // Most calls are of one token, and each count of nothing would take as long as that of it.
    if (prompt !== undefined) this.#promptTokens.inc({ adapter }, prompt)
    if (cached !== undefined) this.#cachedTokens.inc({ adapter }, cached)
    if (output !== undefined) this.#outputTokens.inc({ adapter }, output)
  }

  /** Everything, in Prometheus' text format. */
  async render(): Promise<string> {
    const more = await this.#refresh()
    return (await this.#registry.metrics()) + more
  }

  get contentType(): string {
    return this.#registry.contentType
  }

  #label(delta: string | null): string {
    const label = delta === null ? 'base' : delta.slice('sha256:'.length, 'sha256:'.length + 12)
    if (this.#labels.has(label)) return label
    if (this.#labels.size >= MAX_ADAPTER_LABELS) return 'other'
    this.#labels.add(label)
    return label
  }

  #tokenCounter(name: string, help: string): Counter<'adapter'> {
    return new Counter({ name, help, labelNames: ['adapter'], registers: [this.#registry] })
  }

  #histogram(name: string, help: string): Histogram<'adapter'> {
    return new Histogram({ name, help, labelNames: ['adapter'], buckets: SECONDS, registers: [this.#registry] })
  }
}

type Figure = readonly [name: string, help: string, read: (stats: EngineStats) => number]

const GAUGES: readonly Figure[] = [
  ['polylora_sequences_waiting', 'Sequences that wait for a row of the batch.', (stats) => stats.waiting],
  ['polylora_sequences_running', 'Sequences in the running batch.', (stats) => stats.running],
  [
    'polylora_sequences_stalled',
    'Sequences in the running batch that wait for room in the KV cache.',
    (stats) => stats.stalled,
  ],
  ['polylora_kv_cache_usage_ratio', 'Share of the KV cache that sequences hold.', (stats) => stats.kvUsage],
  ['polylora_batch_rows', 'Rows that the batch has.', (stats) => stats.batchRows],
  ['polylora_deltas_in_memory', 'Deltas in host memory.', (stats) => stats.hostDeltas],
  ['polylora_deltas_in_memory_bytes', 'Bytes of the deltas in host memory.', (stats) => stats.hostDeltaBytes],
  ['polylora_deltas_on_disk', 'Deltas on disk.', (stats) => stats.diskDeltas],
]

/** What the engine itself counts from its start. */
const COUNTERS: readonly Figure[] = [
  ['polylora_decode_steps_total', 'Decode steps.', (stats) => stats.steps],
  [
    'polylora_sampled_tokens_total',
    'Tokens generated, those included that no client has waited for.',
    (stats) => stats.generatedTokens,
  ],
  ['polylora_prefill_tokens_total', 'Prompt tokens computed.', (stats) => stats.prefillTokens],
  ['polylora_draft_tokens_total', 'Tokens tried before they were known.', (stats) => stats.draftTokens],
  ['polylora_accepted_draft_tokens_total', 'Draft tokens that were right.', (stats) => stats.acceptedDraftTokens],
  [
    'polylora_delta_hits_total',
    'Sequences whose delta was in memory when they got their row.',
    (stats) => stats.deltaHits,
  ],
  ['polylora_delta_loads_total', 'Deltas read from disk.', (stats) => stats.deltaLoads],
  ['polylora_delta_evictions_total', 'Deltas that left memory.', (stats) => stats.deltaEvictions],
]
