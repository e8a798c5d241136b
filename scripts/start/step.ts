// Progress on the terminal: one line a step, finished with how long it took. Knows nothing of what the steps do.
import type { WriteStream } from 'node:tty'

type Output = Pick<WriteStream, 'isTTY' | 'write' | 'columns'>

/** Runs `work` under a line that says so; `work` may add a remark. What it throws passes through, the line marked. */
export async function step<Value>(
  output: Output,
  label: string,
  work: (remark: (text: string) => void) => Promise<Value>,
): Promise<Value> {
  const startMs = performance.now()
  let remark = ''
  const show = (mark: string, end: string) => {
    const seconds = `${((performance.now() - startMs) / 1000).toFixed(1)} s`
    const line = [` ${mark} ${label.padEnd(18)}`, end ? seconds.padStart(6) : '      ', remark].join('  ').trimEnd()
    // A line that wraps could not be drawn over.
    const shown = end ? line : line.slice(0, output.columns - 1)
    output.write(output.isTTY ? `\r\x1b[K${shown}${end}` : `${line}\n`)
  }
  if (output.isTTY) show('…', '')
  try {
    const value = await work((text) => {
      remark = text
      if (output.isTTY) show('…', '')
    })
    show('✓', '\n')
    return value
  } catch (error) {
    show('✗', '\n')
    throw error
  }
}
