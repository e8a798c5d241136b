// A way to read a text under a grammar, and how ways are told apart. Knows neither grammars nor texts.

/** Where the callers of a rule go on, innermost first; the same stack is always the same object. */
export interface Stack {
  readonly id: number
  readonly returnTo: number
  readonly below: Stack | undefined
}

/** One way to read the text so far: a node and what called its rule. */
export interface Reading {
  readonly node: number
  readonly stack: Stack | undefined
}

export function readingKey({ node, stack }: Reading): string {
  return `${node} ${stack?.id ?? 0}`
}

/** The same for the same readings, in whatever order and however often. */
export function readingsKey(readings: readonly Reading[]): string {
  return readings.length === 1 ? readingKey(readings[0]!) : [...new Set(readings.map(readingKey))].sort().join()
}
