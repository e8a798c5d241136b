// A grammar over bytes as a pushdown automaton: nodes with byte ranges, jumps and calls, built from the end backwards.
// Knows no JSON. Invariant after `prune`: from every node that can be reached, an end can be reached.

/** The node where a rule ends: back to whoever called it, or the whole text is complete. */
export const END = 0

/** More nodes than any sensible grammar has; a refusal rather than memory. */
const MAX_NODES = 200_000
/** Numbers in `ranges` that stand in several nodes, since texts that begin alike lead on differently. */
const MAX_COPIED = 4_000_000
/** Pairs of ranges that are looked at for what two rules accept alike, of all rules together: a fraction of a second. */
const MAX_COMPARED = 3_000_000

export class GrammarTooLarge extends Error {}

/** Numbers by node, one node's after another's: those of node i are `numbers` from `starts[i]` up to `starts[i + 1]`. */
export interface ByNode {
  readonly starts: Int32Array
  readonly numbers: Int32Array
}

/** An automaton that is complete, as it is kept: a tenth of the memory that it is built in. */
export interface CompactAutomaton {
  readonly ranges: ByNode
  readonly jumps: ByNode
  readonly calls: ByNode
  readonly bytes: number
}

export class Automaton {
  /** By node: (lowest byte, highest byte, next node) again and again. */
  readonly ranges: number[][] = [[]]
  /** By node: nodes that it is as good as. */
  readonly jumps: number[][] = [[]]
  /** By node: (entry of a rule, node after it) again and again. */
  readonly calls: number[][] = [[]]
  #copied = 0
  #compared = 0

  /** A new node that leads nowhere yet. @throws GrammarTooLarge */
  node(): number {
    if (this.ranges.length >= MAX_NODES) throw new GrammarTooLarge()
    this.jumps.push([])
    this.calls.push([])
    return this.ranges.push([]) - 1
  }

  addRange(from: number, lowest: number, highest: number, to: number): void {
    const ranges = this.ranges[from]!
    const last = ranges.length - 1
    // A range that goes on where the last one ended is the same range.
    if (last > 0 && ranges[last] === to && ranges[last - 1] === lowest - 1) ranges[last - 1] = highest
    else ranges.push(lowest, highest, to)
  }

  /** By range from a node: lowest byte, highest byte, next node. */
  rangesFrom(node: number): (readonly [number, number, number])[] {
    const flat = this.ranges[node]!
    return Array.from({ length: flat.length / 3 }, (_, i) => [flat[3 * i]!, flat[3 * i + 1]!, flat[3 * i + 2]!])
  }

  /** To be told how many pairs of ranges are going to be looked at. @throws GrammarTooLarge */
  compare(pairs: number): void {
    this.#compared += pairs
    if (this.#compared > MAX_COMPARED) throw new GrammarTooLarge()
  }

  addJump(from: number, to: number): void {
    this.jumps[from]!.push(to)
  }

  range(lowest: number, highest: number, to: number): number {
    const node = this.node()
    this.addRange(node, lowest, highest, to)
    return node
  }

  /** Any one of the characters; all of them ASCII. */
  oneOf(characters: string, to: number): number {
    const node = this.node()
    for (const byte of new TextEncoder().encode(characters)) this.addRange(node, byte, byte, to)
    return node
  }

  literal(text: string, to: number): number {
    return new TextEncoder().encode(text).reduceRight((next, byte) => this.range(byte, byte, next), to)
  }

  /**
   * What `others` accepts, or `text` and then `to`. What several texts begin with is one path, so that a text is read in
   * one way, however many there are. `others` itself, which must come from here, stays as it is.
   */
  orLiteral(others: number | undefined, text: string, to: number): number {
    const bytes = new TextEncoder().encode(text)
    const path = [others]
    for (const byte of bytes) path.push(this.#child(path.at(-1), byte))
    const end = this.#copy(path.pop())
    if (!this.jumps[end]!.includes(to)) this.addJump(end, to)
    return bytes.reduceRight((next, byte, at) => {
      const node = this.#copy(path[at], byte)
      this.ranges[node]!.push(byte, byte, next)
      return node
    }, end)
  }

  #child(node: number | undefined, byte: number): number | undefined {
    if (node === undefined) return undefined
    const ranges = this.ranges[node]!
    for (let i = 0; i < ranges.length; i += 3) if (ranges[i] === byte) return ranges[i + 2]
    return undefined
  }

  /** A new node as good as `original`, or one that leads nowhere; without what follows `byte`. @throws GrammarTooLarge */
  #copy(original: number | undefined, byte?: number): number {
    const node = this.node()
    if (original === undefined) return node
    const ranges = this.ranges[original]!
    this.#copied += ranges.length
    if (this.#copied > MAX_COPIED) throw new GrammarTooLarge()
    for (let i = 0; i < ranges.length; i += 3) {
      if (ranges[i] !== byte) this.ranges[node]!.push(ranges[i]!, ranges[i + 1]!, ranges[i + 2]!)
    }
    this.jumps[node]!.push(...this.jumps[original]!)
    return node
  }

  choice(...nodes: readonly number[]): number {
    const node = this.node()
    this.jumps[node]!.push(...nodes)
    return node
  }

  /** The rule that starts at `entry`, then `to`. A call at the end of a rule needs no way back: ambiguity stays small. */
  call(entry: number, to: number): number {
    if (to === END) return entry
    const node = this.node()
    this.calls[node]!.push(entry, to)
    return node
  }

  /** Takes out everything from where no end can be reached. False where nothing of `root` is left. */
  prune(root: number): boolean {
    const alive = this.#productive()
    if (!alive.includes(0)) return true
    for (const node of this.ranges.keys()) {
      this.ranges[node] = grouped(this.ranges[node]!, 3, ([, , to]) => alive[to!])
      this.jumps[node] = this.jumps[node]!.filter((to) => alive[to])
      this.calls[node] = grouped(this.calls[node]!, 2, ([entry, to]) => alive[entry!] && alive[to!])
    }
    return alive[root] === 1
  }

  /** What has been built. */
  compact(): CompactAutomaton {
    const parts = { ranges: byNode(this.ranges), jumps: byNode(this.jumps), calls: byNode(this.calls) }
    const bytes = Object.values(parts).reduce((sum, part) => sum + part.starts.byteLength + part.numbers.byteLength, 0)
    return { ...parts, bytes }
  }

  /** By node: whether it can reach an end. From the end backwards, so that each edge is followed once. */
  #productive(): Uint8Array {
    const leadingTo: number[][] = Array.from(this.ranges, () => [])
    for (const node of this.ranges.keys()) {
      for (const [i, to] of this.ranges[node]!.entries()) if (i % 3 === 2) leadingTo[to]!.push(node)
      for (const to of [...this.jumps[node]!, ...this.calls[node]!]) leadingTo[to]!.push(node)
    }
    const alive = new Uint8Array(this.ranges.length)
    alive[END] = 1
    const open = [END]
    for (let to = open.pop(); to !== undefined; to = open.pop()) {
      for (const node of leadingTo[to]!) {
        if (alive[node] || !this.#reaches(node, alive)) continue
        alive[node] = 1
        open.push(node)
      }
    }
    return alive
  }

  #reaches(node: number, alive: Uint8Array): boolean {
    return (
      this.ranges[node]!.some((to, i) => i % 3 === 2 && alive[to]) ||
      this.jumps[node]!.some((to) => alive[to]) ||
      this.calls[node]!.some((to, i, calls) => i % 2 === 1 && alive[to] && alive[calls[i - 1]!])
    )
  }
}

/** The groups of `size` numbers that `keep` keeps. */
function grouped(flat: readonly number[], size: number, keep: (group: readonly number[]) => unknown): number[] {
  const kept: number[] = []
  for (let i = 0; i < flat.length; i += size) {
    const group = flat.slice(i, i + size)
    if (keep(group)) kept.push(...group)
  }
  return kept
}

function byNode(lists: readonly (readonly number[])[]): ByNode {
  const starts = new Int32Array(lists.length + 1)
  for (const [node, { length }] of lists.entries()) starts[node + 1] = starts[node]! + length
  const numbers = new Int32Array(starts.at(-1)!)
  for (const [node, list] of lists.entries()) numbers.set(list, starts[node])
  return { starts, numbers }
}
