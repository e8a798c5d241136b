// A base model's graph on disk, built once for a fingerprint and an option, with the smoothing that its activations ask for.
import { randomUUID } from 'node:crypto'
import { mkdir, open, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import * as z from 'zod/mini'
import { writeSmoothing } from '../../model/delta-layout.ts'
import { buildGraph, type GraphOptions, groupsFor, WEIGHTS_FILE } from '../../model/graph.ts'
import { folderOf } from '../../model/identify.ts'
import { hasColumns } from '../../model/linear.ts'
import type { ModelConfig } from '../../model/model-config.ts'
import type { ModelSource, Weights } from '../../model/model-source.ts'
import { encodeModel } from '../../model/onnx-file.ts'
import type { Smoothing } from '../../model/projection-groups.ts'
import { Tokenizer } from '../../model/tokenizer.ts'
import { floatTypeOf } from '../../model/weight-formats.ts'
import { calibrate, calibrationText } from './calibration.ts'
import { writeVariants } from './graph-variants.ts'
import { multipliesSignedBytes } from './signed-bytes.ts'

/** Changes whenever the builder makes a different graph, so that an old one on disk is not used. */
const GRAPH_VERSION = 17
const GRAPH_FILE = 'model.onnx'
const SIZES_FILE = 'sizes.json'
/** A folder whose graph is not complete yet, by the process that builds it. */
const UNFINISHED = /\.(\d+)(?:-[\w-]+)?\.(?:building|observing)$/
const VERSION = /-v(\d+)$/
/** What this process builds. */
const OWN_BUILDS = new Set<string>()
/** Nothing is written for a minute at most, while the calibration text is read. */
const ABANDONED_MS = 15 * 60_000

/** Bytes by file. */
const Sizes = z.record(z.string(), z.int())

/** Tokens of the calibration text that are read at most. */
const CALIBRATION_TOKENS = 1024

/**
 * The path of the model's ONNX graph for `format` and `positions` of context, built in `cacheDir` where it is not there whole:
 * `onProgress` is told the share that is done.
 * @throws StartupError when the weights do not fit the configuration
 */
export async function graphPath(
  source: ModelSource,
  fingerprint: string,
  options: Pick<GraphOptions, 'format' | 'target' | 'positions'>,
  cacheDir: string,
  onProgress: (share: number) => void = () => undefined,
): Promise<string> {
  const { format, target, positions } = options
  const columnType = hasColumns(format, target) ? (multipliesSignedBytes() ? 'i8' : 'u8') : undefined
  const kind = [format, positions, target, ...(columnType ? [columnType] : []), `v${GRAPH_VERSION}`].join('-')
  const id = `${folderOf(fingerprint)}-${kind}`
  const graphs = join(cacheDir, 'graphs')
  const dir = join(graphs, id)
  const path = join(dir, GRAPH_FILE)
  if (await isWhole(dir)) return path
  await removeLeftovers(graphs)
  // In containers with one volume every process may have the same id.
  const unfinished = `${dir}.${process.pid}-${randomUUID()}`
  const [building, observing] = [`${unfinished}.building`, `${unfinished}.observing`]
  OWN_BUILDS.add(building).add(observing)
  const weights = await source.openWeights()
  // With smoothing every layer is written twice.
  const layers = source.config.layers * (columnType ? 2 : 1)
  let done = 0
  const onLayer = () => onProgress(++done / layers)
  try {
    const observed = { ...options, format: 'int8', columnType, observed: true } as const
    const smoothing = columnType ? await smoothingOf(source, weights, observed, observing, onLayer) : undefined
    await writeGraph(source.config, weights, { ...options, columnType, smoothing }, building, onLayer)
    await noteSizes(building)
    // Another process may have built the same graph meanwhile: either one is right.
    if (!(await isWhole(dir))) await rm(dir, { recursive: true, force: true })
    await rename(building, dir).catch(async (error: NodeJS.ErrnoException) => {
      if (!(await isWhole(dir))) throw error
    })
  } finally {
    await weights.close()
    for (const folder of [building, observing]) {
      await rm(folder, { recursive: true, force: true })
      OWN_BUILDS.delete(folder)
    }
  }
  return path
}

/**
 * Removes what a process that was ended in the middle of building has left, as large as a graph, and graphs of versions before,
 * which nobody reads any more.
 */
async function removeLeftovers(graphs: string): Promise<void> {
  await mkdir(graphs, { recursive: true })
  for (const name of await readdir(graphs)) {
    const path = join(graphs, name)
    const builder = UNFINISHED.exec(name)?.[1]
    const isOld = Number(VERSION.exec(name)?.[1] ?? GRAPH_VERSION) < GRAPH_VERSION
    if (!isOld && (builder === undefined || !(await isAbandoned(path, Number(builder))))) continue
    const removed = rm(path, { recursive: true, force: true })
    // Where a server of the version before still has it open, some systems keep it.
    await (isOld ? removed.catch(() => undefined) : removed)
  }
}

async function isAbandoned(path: string, builder: number): Promise<boolean> {
  if (OWN_BUILDS.has(path)) return false
  if (builder !== process.pid) return !isRunning(builder)
  // A process of another container, or one before this of the same: in containers all have the same id.
  const names = await readdir(path).catch(() => [])
  const written = await Promise.all(['.', ...names].map((name) => stat(join(path, name)).catch(() => undefined)))
  return written.every((file) => !file || Date.now() - file.mtimeMs > ABANDONED_MS)
}

function isRunning(pid: number): boolean {
  try {
    return process.kill(pid, 0)
  } catch (error) {
    // It is somebody else's.
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
}

/** How large the files in `dir` are, written last. */
async function noteSizes(dir: string): Promise<void> {
  const names = await readdir(dir)
  const sizes = await Promise.all(names.map(async (name) => [name, (await stat(join(dir, name))).size]))
  await writeFile(join(dir, SIZES_FILE), JSON.stringify(Object.fromEntries(sizes)))
}

/** Whether the graph in `dir` is as it was built: a crash of the machine, or a copy, may have left half of it. */
async function isWhole(dir: string): Promise<boolean> {
  try {
    const sizes = Sizes.parse(JSON.parse(await readFile(join(dir, SIZES_FILE), 'utf8')))
    for (const [name, size] of Object.entries(sizes)) if ((await stat(join(dir, name))).size !== size) return false
    return true
  } catch {
    return false
  }
}

/** The smoothing that the model's own activations ask for, found with a graph in `dir` that is of no use afterwards. */
async function smoothingOf(
  source: ModelSource,
  weights: Weights,
  options: GraphOptions,
  dir: string,
  onLayer: () => void,
): Promise<Smoothing | undefined> {
  // A tokenizer may have tokens that the model does not.
  const known = new Tokenizer(source.tokenizer).encode(calibrationText()).filter((id) => id < source.config.vocabSize)
  const tokens = known.slice(0, Math.min(CALIBRATION_TOKENS, options.positions))
  if (tokens.length === 0) return undefined
  return calibrate(await writeGraph(source.config, weights, options, dir, onLayer), source.config, tokens)
}

/** Builds the graph with exactly these options in `dir`; returns its path. @throws StartupError as `graphPath` */
export async function writeGraph(
  config: ModelConfig,
  weights: Weights,
  options: GraphOptions,
  dir: string,
  onLayer?: () => void,
): Promise<string> {
  const path = join(dir, GRAPH_FILE)
  await mkdir(dir, { recursive: true })
  const file = await open(join(dir, WEIGHTS_FILE), 'w')
  try {
    const write = async (bytes: Uint8Array) => {
      await file.writeFile(bytes)
    }
    const graph = await buildGraph(config, weights, options, write, onLayer)
    await writeSmoothing(dir, groupsFor(config, options))
    await writeFile(path, encodeModel(graph, WEIGHTS_FILE))
    const hasVariants = options.target === 'cpu' && floatTypeOf(options.format) === 'f32' && !options.observed
    if (hasVariants) await writeVariants(dir, graph)
    return path
  } finally {
    await file.close()
  }
}
