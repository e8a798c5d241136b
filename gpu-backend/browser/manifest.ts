// The base model as a browser downloads it: which files, by digest, and what they are. The contract between the edge, which
// keeps and hands out the files, and the browser, which runs them. Knows neither of the two.
// Invariant: a manifest names every byte that runs by its sha256.
import * as z from 'zod/mini'
import { BaseModel } from '../../adapters/base-model.ts'
import { Digest } from '../protocol.ts'

/**
 * Weights are cut into files of this size: one that is complete is never fetched again, and none meets the limits that
 * hosts put on the size of a request.
 */
export const WEIGHTS_PART_BYTES = 8 * 2 ** 20
/** No tokenizer.json in use comes near it; graphs are far smaller. */
export const MAX_FILE_BYTES = 64 * 2 ** 20
/** Far more than the largest model that a browser can hold needs. */
const MAX_PARTS = 4096
/** Not f16: whether a browser's GPU computes with it would have to be known before the download. */
export const BROWSER_WEIGHTS = ['f32', 'int8', 'int4'] as const

export const ModelFile = z.object({ digest: Digest, bytes: z.int().check(z.positive(), z.lte(MAX_FILE_BYTES)) })
export type ModelFile = z.infer<typeof ModelFile>

export const BrowserModel = z.object({
  base: BaseModel,
  /** How the projections are kept. */
  weights: z.enum(BROWSER_WEIGHTS),
  context_tokens: z.int().check(z.positive()),
  /** The ONNX graph for each of onnxruntime-web's providers; both read the same weights. */
  graphs: z.object({ wasm: ModelFile, webgpu: ModelFile }),
  /** TokenizerFiles, as JSON. */
  tokenizer: ModelFile,
  /** The parts of the graphs' external data file, in order. */
  weights_parts: z.array(ModelFile).check(z.minLength(1), z.maxLength(MAX_PARTS)),
})
export type BrowserModel = z.infer<typeof BrowserModel>

/** Every file of the model, each once. */
export function modelFiles(model: BrowserModel): ModelFile[] {
  const all = [model.graphs.wasm, model.graphs.webgpu, model.tokenizer, ...model.weights_parts]
  return [...new Map(all.map((file) => [file.digest, file])).values()]
}
