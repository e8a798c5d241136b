const SECOND_MS = 1000

/** Milliseconds before the n-th attempt in a row that brought nothing: 2 s, 4 s, 8 s, … */
export function backoffMs(attempt: number): number {
  return 2 ** attempt * SECOND_MS
}
