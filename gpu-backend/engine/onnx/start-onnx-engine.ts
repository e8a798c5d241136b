// From a model's path to an engine that answers: model, plan of the memory, graph, disk tier, and the engine's thread.
import { join } from 'node:path'
import { Grammars } from '../../grammar/grammar.ts'
import { buildTokenTrie } from '../../grammar/token-trie.ts'
import { graphGroups } from '../../model/delta-layout.ts'
import { folderOf, identify } from '../../model/identify.ts'
import { contextOf } from '../../model/model-config.ts'
import { openModelSource } from '../../model/open-model.ts'
import { tokenBytes } from '../../model/token-bytes.ts'
import { Tokenizer } from '../../model/tokenizer.ts'
import { floatTypeOf, type WeightFormat } from '../../model/weight-formats.ts'
import type { BackendInfo } from '../../protocol.ts'
import { DiskTier } from '../../residency/disk-tier.ts'
import { removeOtherBases } from '../../residency/other-bases.ts'
import type { EngineOptions } from '../engine.ts'
import { graphPath } from './built-graph.ts'
import { EngineThread } from './engine-thread.ts'
import { hasPages } from './kv-pages.ts'
import { planMemory } from './memory.ts'
import type { WorkerOptions } from './messages.ts'
import { OnnxEngine } from './onnx-engine.ts'
import type { Device } from './ort.ts'

export interface OnnxEngineOptions extends EngineOptions {
  readonly weights: WeightFormat
  readonly device: Device
  readonly threads: number
  /** Whether this process is the engine's, so that its threads may be kept off a core. */
  readonly ownCore: boolean
}

const PROGRESS_MS = 2_000

/**
 * Loads the base model and starts the engine's thread.
 * @throws StartupError when the model, the device or the options cannot be used
 */
export async function startOnnxEngine(
  options: OnnxEngineOptions,
  progress: (line: string) => void,
): Promise<OnnxEngine> {
  const cacheDir = join(options.dataDir, 'models')
  const source = await openModelSource(options.modelPath)
  const base = await identify(source, options.modelName, cacheDir)
  const { config } = source
  const floatType = floatTypeOf(options.weights)
  const contextTokens = contextOf(config, options.contextTokens)
  const plan = planMemory(config, {
    budgetBytes: options.memoryBytes,
    maxRows: options.maxBatch,
    contextTokens,
    floatType,
    sharesTokens: options.device === 'cpu' && hasPages(),
  })
  const tokenizer = new Tokenizer(source.tokenizer, config.vocabSize)
  const preparing = `preparing the ${options.weights} graph of ${base.name}`
  progress(preparing)
  const path = await graphPath(
    source,
    base.fingerprint,
    { format: options.weights, target: options.device, positions: contextTokens },
    cacheDir,
    nowAndThen((share) => progress(`${preparing}: ${Math.floor(100 * share)}%`)),
  )
  const [deltasDir, ownFolder] = [join(options.dataDir, 'deltas'), folderOf(base.fingerprint)]
  const deltaDir = join(deltasDir, ownFolder)
  const disk = new DiskTier(deltaDir, base, graphGroups(config, path), options.diskBytes, options.maxRank)
  const removedBytes = removeOtherBases(deltasDir, ownFolder, Date.now())
  if (removedBytes > 0) progress(`removed ${megabytes(removedBytes)} of other base models' deltas`)
  progress(
    `${plan.maxRows} rows of up to ${contextTokens} tokens, ${plan.kvTokens} together (${megabytes(plan.kvBytes)} KV cache, ${megabytes(plan.stackBytes)} for the batch's deltas, ` +
      `${megabytes(plan.hostDeltaBytes)} for deltas in memory, ${megabytes(plan.prefixCacheBytes)} for prefixes)`,
  )
  const workerOptions: WorkerOptions = {
    graphPath: path,
    config,
    floatType,
    base,
    device: options.device,
    threads: options.threads,
    maxRows: plan.maxRows,
    contextTokens,
    kvTokens: plan.kvTokens,
    stackBytes: plan.stackBytes,
    hostDeltaBytes: plan.hostDeltaBytes,
    prefixCacheBytes: plan.prefixCacheBytes,
    deltaDir,
    ownCore: options.ownCore && options.device === 'cpu',
  }
  const { thread, vocabulary } = await EngineThread.start(workerOptions, () => {
    const bytes = tokenBytes(source.tokenizer.tokenizer)
    return bytes && buildTokenTrie(bytes)
  })
  const info: BackendInfo = {
    base,
    engine: 'onnx',
    device: options.device,
    weights: options.weights,
    context_tokens: contextTokens,
    max_batch: plan.maxRows,
    max_delta_bytes: options.maxDeltaBytes,
    max_rank: options.maxRank,
    fixed_modules: [],
  }
  return new OnnxEngine({
    info,
    thread,
    tokenizer,
    disk,
    grammars: new Grammars(vocabulary),
    maxQueue: options.maxQueue,
  })
}

/** `tell`, but no more often than somebody reads. */
function nowAndThen(tell: (share: number) => void): (share: number) => void {
  let toldMs = performance.now()
  return (share) => {
    if (performance.now() < toldMs + PROGRESS_MS) return
    toldMs = performance.now()
    tell(share)
  }
}

function megabytes(bytes: number): string {
  return `${Math.round(bytes / 1e6)} MB`
}
