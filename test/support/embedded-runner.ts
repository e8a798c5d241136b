// The embedded base model ready to run without an engine around it: logits in, nothing scheduled.
import type { BaseModel } from '../../adapters/base-model.ts'
import { EMBEDDED_MODEL } from '../../gpu-backend/config.ts'
import { graphPath } from '../../gpu-backend/engine/onnx/built-graph.ts'
import { Runner } from '../../gpu-backend/engine/onnx/runner.ts'
import { AdapterTemplates } from '../../gpu-backend/model/adapter-templates.ts'
import { identify } from '../../gpu-backend/model/identify.ts'
import { openModelSource } from '../../gpu-backend/model/open-model.ts'
import { Tokenizer } from '../../gpu-backend/model/tokenizer.ts'
import type { ChatMessage } from '../../gpu-backend/protocol.ts'
import { type PackedDelta, packDelta, viewPacked } from '../../gpu-backend/residency/packed-delta.ts'
import type { EncodedDelta } from './random-delta.ts'

const CONTEXT_TOKENS = 512

export interface EmbeddedRunner {
  readonly runner: Runner
  readonly base: BaseModel
  readonly tokenizer: Tokenizer
  pack(delta: EncodedDelta): PackedDelta
  /** A conversation as an adapter's template, where it has one, or the model's makes it. */
  renderChat(messages: readonly ChatMessage[], adapterTemplate: string | undefined): Promise<string>
  release(): void
}

/**
 * With files in `cacheDir`, with all its graphs unless it is to be the whole one alone, and with so much room for the batch's
 * deltas, if any bound; the caller releases it.
 */
export async function embeddedRunner(
  cacheDir: string,
  maxRows: number,
  format: 'f32' | 'int8' | 'int4' = 'f32',
  graphs: 'all' | 'whole alone' = 'all',
  stackBytes = Number.POSITIVE_INFINITY,
): Promise<EmbeddedRunner> {
  const source = await openModelSource(EMBEDDED_MODEL)
  const base = await identify(source, 'embedded', cacheDir)
  const path = await graphPath(source, base.fingerprint, { format, target: 'cpu', positions: CONTEXT_TOKENS }, cacheDir)
  const options = { graphPath: path, floatType: 'f32', config: source.config, device: 'cpu', threads: 2 } as const
  const runner = new Runner({ ...options, maxRows, contextTokens: CONTEXT_TOKENS, stackBytes })
  if (graphs === 'all') await runner.loadVariants()
  const tokenizer = new Tokenizer(source.tokenizer, source.config.vocabSize)
  const templates = new AdapterTemplates()
  return {
    runner,
    base,
    tokenizer,
    async renderChat(messages, adapterTemplate) {
      if (adapterTemplate === undefined) return tokenizer.renderChat(messages)
      return templates.render('tenant', adapterTemplate, { messages, extras: {}, specials: tokenizer.specials })
    },
    release() {
      templates.close()
      runner.release()
    },
    pack({ digest, delta }) {
      const { shape, values } = packDelta(digest, delta, runner.groups, base)
      return viewPacked(digest, shape, runner.groups, base, values)
    },
  }
}
