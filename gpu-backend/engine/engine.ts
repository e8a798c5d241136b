// The seam between the server and whatever generates: `onnx` and `vllm` implement it, nothing above knows which one runs.
import type {
  BackendInfo,
  EmbedRequest,
  EmbedResponse,
  FinishReason,
  GenerateRequest,
  ResidencyEntry,
  Tier,
  TokenLogprob,
  ToolCall,
  Usage,
} from '../protocol.ts'

/** What every engine is started with. */
export interface EngineOptions {
  /** A Hugging Face directory or a GGUF file. */
  readonly modelPath: string
  /** The base model's name for clients. */
  readonly modelName: string
  /** Where it keeps what the next start can use. */
  readonly dataDir: string
  readonly memoryBytes: number
  /** Sequences in one batch at most. */
  readonly maxBatch: number
  /** undefined: as much as the model allows, up to 4096. */
  readonly contextTokens: number | undefined
  readonly diskBytes: number
  readonly maxDeltaBytes: number
  /** The largest rank of a module that is taken in. */
  readonly maxRank: number
  /** Sequences that may wait; beyond it requests are refused. */
  readonly maxQueue: number
}

/** Who asks and until when, from the capability token and the connection. */
export interface RequestContext {
  readonly requestId: string
  readonly tenant: string
  /** The token's limit on generated tokens. */
  readonly maxTokens: number
  readonly signal: AbortSignal
}

/** What generating a request yields, in order: started, texts and finishes of its choices, done. */
export type EngineEvent =
  | {
      readonly event: 'started'
      readonly promptTokens: number
      /** Of the first prompt's tokens, those that are not computed again; absent where only the end tells. */
      readonly cachedTokens?: number | undefined
      readonly tier: Tier | null
      /** How long the delta took to come from disk, where this request set the reading off. */
      readonly loadMs?: number | undefined
    }
  | {
      readonly event: 'text'
      readonly index: number
      readonly text: string
      readonly tokens: number
      readonly logprobs: readonly TokenLogprob[] | undefined
    }
  | { readonly event: 'tool_call'; readonly index: number; readonly call: ToolCall }
  | { readonly event: 'finished'; readonly index: number; readonly reason: FinishReason }
  | {
      readonly event: 'done'
      readonly usage: Usage
      readonly batch: { readonly rows: number; readonly deltas: number }
    }

/** What an engine has done since its start. */
export interface EngineCounts {
  readonly steps: number
  readonly generatedTokens: number
  readonly prefillTokens: number
  /** Tokens that were tried before they were known, and those of them that were right. */
  readonly draftTokens: number
  readonly acceptedDraftTokens: number
}

/** What an engine tells of itself, for /metrics. */
export interface EngineStats extends EngineCounts {
  readonly waiting: number
  readonly running: number
  /** Of those that run: how many wait for room in the KV cache. */
  readonly stalled: number
  /** The share of the KV cache that sequences hold. */
  readonly kvUsage: number
  readonly batchRows: number
  readonly hostDeltas: number
  readonly hostDeltaBytes: number
  readonly deltaHits: number
  readonly deltaLoads: number
  readonly deltaEvictions: number
  readonly diskDeltas: number
}

export interface Engine {
  readonly info: BackendInfo
  /**
   * Generates. Ends early, without an event, when the signal aborts.
   * @throws BackendError `adapter_missing`, `context_length_exceeded`, `bad_request`, `overloaded`, ... before `started`
   */
  generate(request: GenerateRequest, context: RequestContext): AsyncIterable<EngineEvent>
  /** @throws BackendError as `generate`, and `deadline_exceeded` where the request's deadline passed first */
  embed(request: EmbedRequest, context: RequestContext): Promise<EmbedResponse>
  /**
   * Takes in a delta: the canonical file's bytes, whose sha256 must be `digest`.
   * @throws BackendError `digest_mismatch`, `invalid_delta`, `too_large`
   */
  admit(digest: string, body: AsyncIterable<Uint8Array>, maxBytes: number): Promise<void>
  /** Forgets a delta in every tier, once no running sequence uses it. */
  evict(digest: string): Promise<void>
  /** Whether a request may use the delta without sending it first. */
  has(digest: string): boolean
  residency(): Promise<ResidencyEntry[]>
  stats(): Promise<EngineStats>
  /** @throws BackendError `unavailable` once it can never generate again: only another process can */
  checkAlive(): void
  /** @throws BackendError `unavailable` while it cannot generate */
  ready(): Promise<void>
  /** Figures of what it runs on, in Prometheus' text format, under names of their own. */
  metrics(): Promise<string>
  close(): Promise<void>
}
