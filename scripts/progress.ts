// A progress line on standard error, when that is a terminal; silent otherwise, so that logs and pipes stay clean.
// Knows nothing of what progresses. Invariant: however the work ends, the terminal's line is empty again.
import { formatBytes } from './format-bytes.ts'

/** Bytes where `total` is above 1; else only the label is shown. */
export type OnProgress = (label: string, done: number, total: number) => void

const BAR_CELLS = 24
const CLEAR_LINE = '\r\x1b[K'

/** Runs `work`, which tells how far it has come. */
export async function withProgress<Value>(
  stream: { readonly isTTY: boolean; write(text: string): unknown },
  work: (onProgress: OnProgress) => Promise<Value>,
): Promise<Value> {
  if (!stream.isTTY) return work(() => {})
  let last = ''
  try {
    return await work((label, done, total) => {
      const text = total > 1 ? bar(label, done, total) : `${label} ...`
      if (text === last) return
      last = text
      stream.write(`${CLEAR_LINE}${text}`)
    })
  } finally {
    if (last !== '') stream.write(CLEAR_LINE)
  }
}

function bar(label: string, done: number, total: number): string {
  const filled = Math.round((Math.min(done, total) / total) * BAR_CELLS)
  const cells = '#'.repeat(filled) + '.'.repeat(BAR_CELLS - filled)
  return `${label.padEnd(10)} [${cells}] ${formatBytes(done)} of ${formatBytes(total)}`
}
