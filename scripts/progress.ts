// A progress line on standard error, when that is a terminal; silent otherwise, so that logs and pipes stay clean.
// Knows nothing of what progresses. Invariant: `finish` leaves the terminal's line empty.

export interface Progress {
  update(label: string, done: number, total: number): void
  finish(): void
}

const BAR_CELLS = 24

export function terminalProgress(stream: { readonly isTTY: boolean; write(text: string): unknown }): Progress {
  if (!stream.isTTY) return { update() {}, finish() {} }
  let last = ''
  return {
    update(label, done, total) {
      const filled = total > 0 ? Math.round((Math.min(done, total) / total) * BAR_CELLS) : 0
      const line = `${label.padEnd(10)} [${'#'.repeat(filled)}${'.'.repeat(BAR_CELLS - filled)}] ${formatBytes(done)} of ${formatBytes(total)}`
      const text = total > 1 ? line : `${label} ...`
      if (text === last) return
      last = text
      stream.write(`\r\x1b[K${text}`)
    },
    finish() {
      if (last !== '') stream.write('\r\x1b[K')
      last = ''
    },
  }
}

/** Such as `1.5 MB`; powers of ten. */
export function formatBytes(bytes: number): string {
  if (bytes < 1000) return `${bytes} B`
  if (bytes < 1e6) return `${(bytes / 1e3).toFixed(1)} kB`
  if (bytes < 1e9) return `${(bytes / 1e6).toFixed(1)} MB`
  return `${(bytes / 1e9).toFixed(2)} GB`
}
