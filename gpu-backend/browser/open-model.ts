// Opens the base model and adapters: from the edge or this browser's store to a session that generates.
// Knows no worker and no page. Invariant: a file is in the store before it is used, so the next opening downloads nothing, and
// needs no edge.
import type { TokenizerFiles } from '../model/model-source.ts'
import { BrowserError } from './browser-error.ts'
import { AdapterVersion, adapterPath, EdgeClient, MODEL_PATH } from './edge-client.ts'
import { GraphSession } from './graph-session.ts'
import { LocalEngine } from './local-engine.ts'
import { BrowserModel, type ModelFile, modelFiles } from './manifest.ts'
import type {
  BrowserDevice,
  LoadedAdapter,
  LocalEvent,
  LocalRequest,
  OpenedModel,
  OpenOptions,
  Progress,
} from './messages.ts'
import { type Answered, StoredFiles } from './stored-files.ts'

/** Files that are fetched at the same time. */
const PARALLEL_DOWNLOADS = 4
const BASE_STORE = 'polylora base'
const ADAPTER_STORE = 'polylora adapters'

type OnProgress = (progress: Progress) => void

export class OpenModel {
  readonly opened: OpenedModel
  readonly #edge: EdgeClient
  readonly #store: StoredFiles
  readonly #engine: LocalEngine
  /** Where each delta that was loaded lies. */
  readonly #deltas = new Map<string, { readonly path: string; readonly file: ModelFile }>()

  private constructor(
    opened: OpenedModel,
    edge: EdgeClient,
    store: StoredFiles,
    session: GraphSession,
    files: TokenizerFiles,
  ) {
    this.opened = opened
    this.#edge = edge
    this.#store = store
    this.#engine = new LocalEngine(opened.manifest, opened.device, session, files, (digest) => this.#readDelta(digest))
  }

  /** @throws BrowserError */
  static async open({ edge: url, apiKey, device: wanted }: OpenOptions, onProgress: OnProgress): Promise<OpenModel> {
    const edge = new EdgeClient(url, apiKey)
    const store = await StoredFiles.open(BASE_STORE, edge)
    const answered = await store.answer(MODEL_PATH, BrowserModel, () => edge.model())
    const manifest = answered.answer
    const adapters = await StoredFiles.open(ADAPTER_STORE, edge)
    const openOn = async (device: BrowserDevice) => {
      const blobs = await fetchBase(store, answered, device, onProgress)
      const session = await GraphSession.create({
        device,
        graph: new Uint8Array(await blobs.get(manifest.graphs[device].digest)!.arrayBuffer()),
        weights: new Blob(manifest.weights_parts.map(({ digest }) => blobs.get(digest)!)),
        base: manifest.base,
        contextTokens: manifest.context_tokens,
      })
      // Written by the publisher of the base, whose graph is trusted as well.
      const files = JSON.parse(await blobs.get(manifest.tokenizer.digest)!.text()) as TokenizerFiles
      return new OpenModel({ manifest, device }, edge, adapters, session, files)
    }
    const device = wanted ?? (await bestDevice())
    return openOn(device).catch((error: unknown) => {
      // A GPU that is there may still be too small for the model.
      const isTooSmall = error instanceof BrowserError && error.code === 'unsupported' && device === 'webgpu'
      if (isTooSmall && wanted === undefined) return openOn('wasm')
      throw error
    })
  }

  /**
   * Brings the version that `name` points at to this machine; earlier versions of it are removed then.
   * @throws BrowserError, or the signal's reason
   */
  async load(name: string, onProgress: OnProgress, signal: AbortSignal): Promise<LoadedAdapter> {
    const path = adapterPath(name)
    const { answer, isCurrent } = await this.#store.answer(path, AdapterVersion, () => this.#edge.adapter(name))
    const { digest, bytes } = answer
    const versions = `${path}/versions/`
    const stored = { path: `${versions}${digest}/delta`, file: { digest, bytes } }
    const isEarlier = (other: string) => other.startsWith(versions) && other !== stored.path
    let loadedBytes = 0
    const onBytes = (count: number) => {
      loadedBytes += count
      onProgress({ what: 'adapter', loadedBytes, totalBytes: bytes })
    }
    const makeRoom = () => this.#store.remove((other) => other === path || isEarlier(other))
    await this.#store.get(stored, onBytes, { signal, makeRoom })
    if (isCurrent) {
      await this.#store.keepAnswer(path, answer)
      await this.#store.remove(isEarlier)
    }
    this.#deltas.set(digest, stored)
    await this.#engine.load(digest)
    return { name, digest, bytes }
  }

  generate(request: LocalRequest, signal: AbortSignal): AsyncGenerator<LocalEvent> {
    return this.#engine.generate(request, signal)
  }

  async #readDelta(digest: string): Promise<Uint8Array> {
    const stored = this.#deltas.get(digest)
    if (!stored) throw new BrowserError('adapter_missing', 'This adapter was not loaded here: load it first.')
    const blob = await this.#store.get(stored, () => {})
    return new Uint8Array(await blob.arrayBuffer())
  }
}

/**
 * The files that `device` needs, by digest. What the manifest no longer names is removed once they are all here, and the manifest
 * takes the place of the last one: until then that opens without an edge.
 */
async function fetchBase(
  store: StoredFiles,
  { answer: manifest, isCurrent }: Answered<BrowserModel>,
  device: BrowserDevice,
  onProgress: OnProgress,
): Promise<Map<string, Blob>> {
  const named = new Set(modelFiles(manifest).map(filePath))
  // A browser may have no room for two bases.
  const makeRoom = () => store.remove((path) => !named.has(path))
  const files = modelFiles(manifest).filter(
    ({ digest }) => digest === manifest.graphs[device].digest || !isGraph(manifest, digest),
  )
  const totalBytes = files.reduce((sum, { bytes }) => sum + bytes, 0)
  let loadedBytes = 0
  const onBytes = (count: number) => {
    loadedBytes += count
    onProgress({ what: 'base', loadedBytes, totalBytes })
  }
  const blobs = new Map<string, Blob>()
  const waiting = [...files]
  const fetchNext = async (): Promise<void> => {
    for (let file = waiting.shift(); file; file = waiting.shift()) {
      blobs.set(file.digest, await store.get({ path: filePath(file), file }, onBytes, { makeRoom }))
    }
  }
  await Promise.all(Array.from({ length: PARALLEL_DOWNLOADS }, fetchNext))
  if (isCurrent) {
    await store.keepAnswer(MODEL_PATH, manifest)
    await store.remove((path) => path !== MODEL_PATH && !named.has(path))
  }
  return blobs
}

function isGraph({ graphs }: BrowserModel, digest: string): boolean {
  return digest === graphs.wasm.digest || digest === graphs.webgpu.digest
}

function filePath({ digest }: ModelFile): string {
  return `/v1/browser/files/${digest}`
}

/** WebGPU where there is a GPU to use and this browser can wait inside WebAssembly for it. */
async function bestDevice(): Promise<BrowserDevice> {
  const canWait = 'Suspending' in WebAssembly
  const adapter = canWait && 'gpu' in navigator ? await navigator.gpu.requestAdapter().catch(() => null) : null
  return adapter ? 'webgpu' : 'wasm'
}
