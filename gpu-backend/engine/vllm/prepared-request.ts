// A request, ready to run: its delta held, its prompts as tokens, what ends its answer.
// Knows no server. Invariant: a delta is held once for each choice, and not at all where the request is refused.
import type { Tokenizer } from '../../model/tokenizer.ts'
import { choicesOf, type GenerateRequest, type SamplingParams } from '../../protocol.ts'
import type { ToolUse } from '../../tools/tool-use.ts'
import type { RequestContext } from '../engine.ts'
import type { Prompts } from '../prompts.ts'
import { checkFormat } from './check-format.ts'
import type { SequenceOptions } from './sequence-run.ts'
import type { HeldAdapter, SharedAdapters } from './shared-adapters.ts'

/** What the choices of a request share. */
export interface PreparedRequest {
  readonly held: HeldAdapter | undefined
  readonly tools: ToolUse | undefined
  readonly sampling: SamplingParams
  readonly prompts: readonly Pick<SequenceOptions, 'promptTokens' | 'maxTokens'>[]
  readonly endTokenIds: readonly number[]
  /** Milliseconds since the epoch. */
  readonly deadlineMs: number | undefined
}

export interface PreparedWith {
  readonly adapters: SharedAdapters
  readonly prompts: Prompts
  readonly tokenizer: Tokenizer
  /** @throws BackendError where the engine has stopped meanwhile */
  checkOpen(): void
}

/** @throws BackendError `adapter_missing`, `context_length_exceeded`, `bad_request`, ... */
export async function prepareRequest(
  request: GenerateRequest,
  context: RequestContext,
  { adapters, prompts, tokenizer, checkOpen }: PreparedWith,
): Promise<PreparedRequest> {
  const deadlineMs = request.deadline_ms === undefined ? undefined : Date.now() + request.deadline_ms
  // What one engine cannot hold to is refused by both.
  if (request.sampling.response_format) checkFormat(request.sampling.response_format)
  const count = choicesOf(request)
  const held = request.delta === null ? undefined : adapters.hold(request.delta, count)
  try {
    const tools = prompts.toolUse(request, held?.chatTemplate, checkFormat)
    const sampling = tools?.sampling ?? request.sampling
    const encoded = await prompts.encode(request, context.tenant, held?.chatTemplate, tools)
    const ready = encoded.map((promptTokens) => ({
      promptTokens,
      maxTokens: prompts.maxTokens(promptTokens.length, sampling.max_tokens, context.maxTokens),
    }))
    checkOpen()
    const endTokenIds = [...tokenizer.eosTokenIds, ...sampling.stop_token_ids]
    return { held, tools, sampling, prompts: ready, endTokenIds, deadlineMs }
  } catch (error) {
    held?.release(count)
    throw error
  }
}
