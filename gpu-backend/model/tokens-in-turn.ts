// A CPU's graph for several tokens of one sequence at once: products and norms take them as the rows of a batch, attention one
// after another, each over all that came before it. Its results have the bits of as many steps of one token, which those of
// ONNX Runtime's attention over several tokens have not.
import { ATTENTION } from './attention.ts'
import { type GraphValue, inlineSizes, type Node, type OnnxGraph, type StoredInitializer } from './onnx-file.ts'

/** Operators that pack their second input, a constant, when they are loaded. */
const PRODUCTS = new Set(['MatMul', 'MatMulIntegerToFloat', 'MatMulNBits'])
const ONE_EACH = 'one_each'

/** As `AttentionWriter` gives them: query, key, value, the cache's K and V, seqlens_k, and what is the same for all tokens. */
type AttentionInputs = [string, string, string, string, string, string, ...string[]]

/** What `tokensInTurn` calls the part of `value` that is of token `index`. */
export function ofToken(value: string, index: number): string {
  return `${value}.t${index}`
}

/**
 * `graph`, as `buildGraph` makes it, for exactly so many `tokens` of one sequence: input_ids [tokens, 1]; seqlens_k
 * [tokens], of each token; the cache of one row. Each token has outputs of its own for the cache, named by `ofToken` but for
 * the last one's: all are to be bound to the same memory. The constants are those of `graph`.
 */
export function tokensInTurn(graph: OnnxGraph, tokens: number): OnnxGraph {
  const oneEach = inlineSizes(ONE_EACH, new Array<number>(tokens).fill(1))
  const caches = graph.outputs.filter(({ name }) => name.startsWith('present_'))
  const earlier = caches.flatMap((cache) =>
    Array.from({ length: tokens - 1 }, (_, index) => ({ ...cache, name: ofToken(cache.name, index) })),
  )
  return {
    nodes: [
      split('seqlens_k', tokens),
      ...graph.nodes.flatMap((node) => (node.op === ATTENTION ? attendInTurn(node, tokens) : [node])),
    ],
    inputs: graph.inputs.map((input) => ofOneRow(input, tokens)),
    outputs: [...graph.outputs, ...earlier].map((output) => ofOneRow(output, tokens)),
    initializers: [...graph.initializers, oneEach],
  }
}

/** The constants that the products of `graph` pack: weights, and the scales of those in blocks, which go into them. */
export function packedWeights(graph: OnnxGraph): StoredInitializer[] {
  const products = graph.nodes.filter(({ op }) => PRODUCTS.has(op))
  const names = new Set(products.flatMap(({ op, inputs }) => inputs.slice(1, op === 'MatMulNBits' ? 3 : 2)))
  return graph.initializers.filter((one): one is StoredInitializer => 'offset' in one && names.has(one.name))
}

/** Rows are tokens here, but in the cache, where the sequence has the only one. */
function ofOneRow(value: GraphValue, tokens: number): GraphValue {
  const rows = /^(past|present)_/.test(value.name) ? 1 : tokens
  return value.dims ? { ...value, dims: value.dims.map((dim) => (dim === 'B' ? rows : dim)) } : value
}

/** `node` for one token after another: what one leaves in the cache is what the next one finds there. */
function attendInTurn(node: Node, tokens: number): Node[] {
  const [attended, ...presents] = node.outputs
  const [query, key, value, pastK, pastV, seqlens, ...rest] = node.inputs as AttentionInputs
  const rows = [query, key, value].filter((name) => name !== '')
  const turns = Array.from({ length: tokens }, (_, index): Node => {
    const isLast = index === tokens - 1
    const pasts = index === 0 ? [pastK, pastV] : presents.map((name) => ofToken(name, index - 1))
    const own = [query, key, value].map((name) => (name === '' ? '' : ofToken(name, index)))
    return {
      ...node,
      inputs: [...own, ...pasts, ofToken(seqlens, index), ...rest],
      outputs: [ofToken(attended!, index), ...presents.map((name) => (isLast ? name : ofToken(name, index)))],
    }
  })
  const inputs = turns.map(({ outputs }) => outputs[0]!)
  const joined: Node = { op: 'Concat', domain: '', inputs, outputs: [attended!], attributes: { axis: 0 } }
  return [...rows.map((name) => split(name, tokens)), ...turns, joined]
}

function split(value: string, tokens: number): Node {
  const outputs = Array.from({ length: tokens }, (_, index) => ofToken(value, index))
  return { op: 'Split', domain: '', inputs: [value, ONE_EACH], outputs, attributes: { axis: 0 } }
}
