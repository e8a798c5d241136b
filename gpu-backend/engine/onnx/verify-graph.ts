// The graph for several tokens of one sequence at once, beside the one that it is made of: both read the same weights.
import { existsSync, readFileSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import * as z from 'zod/mini'
import { WEIGHTS_FILE } from '../../model/graph.ts'
import { DATA_TYPE, type DataType, encodeModel, type OnnxGraph } from '../../model/onnx-file.ts'
import { packedWeights, tokensInTurn } from '../../model/tokens-in-turn.ts'

/** The sequence's newest token and four that may follow it: more are rarely right, and each takes time. */
export const VERIFY_TOKENS = 5

const VERIFY_FILE = 'verify.onnx'
const SHARED_FILE = 'shared.json'

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

/** Writes what `graph`, whose file is in `dir`, needs to have several tokens verified. */
export async function writeVerifyGraph(dir: string, graph: OnnxGraph): Promise<void> {
  await writeFile(join(dir, VERIFY_FILE), encodeModel(tokensInTurn(graph, VERIFY_TOKENS), WEIGHTS_FILE))
  await writeFile(join(dir, SHARED_FILE), JSON.stringify(packedWeights(graph)))
}

/** The graph for `VERIFY_TOKENS` tokens beside the one at `graphPath`. */
export function verifyPath(graphPath: string): string {
  return join(dirname(graphPath), VERIFY_FILE)
}

/** The weights that both graphs multiply with; undefined where there is one graph alone. */
export function sharedPlaces(graphPath: string): WeightPlace[] | undefined {
  const file = join(dirname(graphPath), SHARED_FILE)
  return existsSync(file) ? WeightPlaces.parse(JSON.parse(readFileSync(file, 'utf8'))) : undefined
}
