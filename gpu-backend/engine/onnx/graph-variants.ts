// What is made of a built graph for a CPU, beside it on disk: for each scope of deltas one for a token of each row and one for
// several tokens of one sequence at once. All read the same weights.
import { existsSync, readFileSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import * as z from 'zod/mini'
import { DELTA_SCOPES, type DeltaScope } from '../../model/delta-scope.ts'
import { WEIGHTS_FILE } from '../../model/graph.ts'
import { oneToken } from '../../model/one-token.ts'
import { DATA_TYPE, type DataType, encodeModel, type OnnxGraph } from '../../model/onnx-file.ts'
import { packedWeights, tokensInTurn } from '../../model/tokens-in-turn.ts'
import { withoutDeltas } from '../../model/without-deltas.ts'

/** The sequence's newest token and four that may follow it: more are rarely right, and each takes time. */
export const VERIFY_TOKENS = 5

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

/** Writes the variants of `graph`, whose file is in `dir`, and what they share with it. */
export async function writeVariants(dir: string, graph: OnnxGraph): Promise<void> {
  for (const scope of DELTA_SCOPES) {
    const rows = oneToken(withoutDeltas(graph, scope))
    const paths = variantPaths(dir, scope)
    await writeFile(paths.rows, encodeModel(rows, WEIGHTS_FILE))
    await writeFile(paths.verify, encodeModel(tokensInTurn(rows, VERIFY_TOKENS), WEIGHTS_FILE))
  }
  await writeFile(join(dir, SHARED_FILE), JSON.stringify(packedWeights(graph)))
}

/** The variants, of the graph in `dir`, for deltas of `scope`. */
export function variantPaths(dir: string, scope: DeltaScope): { rows: string; verify: string } {
  return { rows: join(dir, `${scope}.onnx`), verify: join(dir, `${scope}-verify.onnx`) }
}

/** The weights that a graph and its variants multiply with; undefined where it has none. */
export function sharedPlaces(graphPath: string): WeightPlace[] | undefined {
  const file = join(dirname(graphPath), SHARED_FILE)
  return existsSync(file) ? WeightPlaces.parse(JSON.parse(readFileSync(file, 'utf8'))) : undefined
}
