// What is made of a built graph for a CPU, beside it on disk: the same without deltas, and of both one for several tokens of
// one sequence at once. All read the same weights.
import { existsSync, readFileSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import * as z from 'zod/mini'
import { WEIGHTS_FILE } from '../../model/graph.ts'
import { DATA_TYPE, type DataType, encodeModel, type OnnxGraph } from '../../model/onnx-file.ts'
import { packedWeights, tokensInTurn } from '../../model/tokens-in-turn.ts'
import { withoutDeltas } from '../../model/without-deltas.ts'

/** The sequence's newest token and four that may follow it: more are rarely right, and each takes time. */
export const VERIFY_TOKENS = 5

const VARIANTS = {
  verify: (graph: OnnxGraph) => tokensInTurn(graph, VERIFY_TOKENS),
  bare: withoutDeltas,
  'bare-verify': (graph: OnnxGraph) => tokensInTurn(withoutDeltas(graph), VERIFY_TOKENS),
}
const SHARED_FILE = 'shared.json'

type Variant = keyof typeof VARIANTS

const WeightPlaces = z.array(
  z.object({
    name: z.string(),
    type: z.enum(Object.keys(DATA_TYPE) as DataType[]),
    dims: z.array(z.int()),
    offset: z.int(),
    bytes: z.int(),
  }),
)

/** Where a weight lies in the data file. */
export type WeightPlace = z.infer<typeof WeightPlaces>[number]

/** Writes the variants of `graph`, whose file is in `dir`, and what they share with it. */
export async function writeVariants(dir: string, graph: OnnxGraph): Promise<void> {
  for (const [name, of] of Object.entries(VARIANTS)) {
    await writeFile(join(dir, `${name}.onnx`), encodeModel(of(graph), WEIGHTS_FILE))
  }
  await writeFile(join(dir, SHARED_FILE), JSON.stringify(packedWeights(graph)))
}

/** A variant of the graph at `graphPath`. */
export function variantPath(graphPath: string, variant: Variant): string {
  return join(dirname(graphPath), `${variant}.onnx`)
}

/** The weights that a graph and its variants multiply with; undefined where it has none. */
export function sharedPlaces(graphPath: string): WeightPlace[] | undefined {
  const file = join(dirname(graphPath), SHARED_FILE)
  return existsSync(file) ? WeightPlaces.parse(JSON.parse(readFileSync(file, 'utf8'))) : undefined
}
