// A vocabulary as a tree of bytes, flat, so that all tokens which continue a text are found in one walk over shared
// beginnings. Knows no grammar. Plain arrays: it is built in one thread and used in another.

/** Nodes in depth-first order; a node is a byte after the bytes of its ancestors. */
export interface TokenTrie {
  readonly bytes: Uint8Array
  /** 0: the first byte of a token. */
  readonly depths: Uint16Array
  /** Index of the first node that is not below this one. */
  readonly ends: Int32Array
  /** Tokens that end at node i: `tokens` from `firstToken[i]` up to `firstToken[i + 1]`. */
  readonly firstToken: Int32Array
  readonly tokens: Int32Array
  /** The bytes of token t: `text` from `textStart[t]` up to `textStart[t + 1]`. */
  readonly text: Uint8Array
  readonly textStart: Int32Array
  readonly maxDepth: number
}

/** `vocabulary`: bytes by token id; tokens without bytes are not in the trie. */
export function buildTokenTrie(vocabulary: readonly (Uint8Array | undefined)[]): TokenTrie {
  const sorted = inByteOrder(vocabulary)
  const [bytes, depths, firstToken]: [number[], number[], number[]] = [[], [], []]
  let previous: Uint8Array = new Uint8Array()
  for (const [index, id] of sorted.entries()) {
    const token = vocabulary[id]!
    for (let depth = sharedLength(previous, token); depth < token.length; depth++) {
      bytes.push(token[depth]!)
      depths.push(depth)
      // No token ends at the nodes before this token's last one: it would have come earlier in the order.
      firstToken.push(index)
    }
    previous = token
  }
  firstToken.push(sorted.length)
  const lengths = Array.from(vocabulary, (token) => token?.length ?? 0)
  const textStart = new Int32Array(vocabulary.length + 1)
  for (const [id, length] of lengths.entries()) textStart[id + 1] = textStart[id]! + length
  const text = new Uint8Array(textStart.at(-1)!)
  for (const id of sorted) text.set(vocabulary[id]!, textStart[id]!)
  return {
    bytes: Uint8Array.from(bytes),
    depths: Uint16Array.from(depths),
    ends: subtreeEnds(depths),
    firstToken: Int32Array.from(firstToken),
    tokens: Int32Array.from(sorted),
    text,
    textStart,
    maxDepth: lengths.reduce((most, length) => Math.max(most, length), 0),
  }
}

/** Ids of the tokens that have bytes, sorted by them. */
function inByteOrder(vocabulary: readonly (Uint8Array | undefined)[]): number[] {
  // A letter for each byte: comparing strings is far quicker than comparing arrays.
  const letters = Array.from(vocabulary, (token) => (token ? String.fromCharCode(...token) : ''))
  const ids = [...letters.keys()].filter((id) => letters[id] !== '')
  return ids.sort((x, y) => (letters[x]! < letters[y]! ? -1 : letters[x]! > letters[y]! ? 1 : x - y))
}

function sharedLength(a: Uint8Array, b: Uint8Array): number {
  let length = 0
  while (length < a.length && length < b.length && a[length] === b[length]) length++
  return length
}

function subtreeEnds(depths: readonly number[]): Int32Array {
  const ends = new Int32Array(depths.length).fill(depths.length)
  const open: number[] = []
  for (const [node, depth] of depths.entries()) {
    while (open.length > depth) ends[open.pop()!] = node
    open.push(node)
  }
  return ends
}
