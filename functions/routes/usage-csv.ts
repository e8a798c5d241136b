// Rows of usage as CSV, by RFC 4180.

type Row = Readonly<Record<string, string | number | null | undefined>>

/** The line above the rows. */
export function csvHeader(columns: readonly string[]): string {
  return `${columns.join(',')}\r\n`
}

/** Cells that a spreadsheet would run as a formula are kept from it. */
export function csvLine(columns: readonly string[], row: Row): string {
  const cell = (value: Row[string]): string => {
    if (typeof value === 'number') return String(value)
    const text = value ?? ''
    const safe = /^[=+\-@\t\r]/.test(text) ? `'${text}` : text
    return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe
  }
  return `${columns.map((column) => cell(row[column])).join(',')}\r\n`
}
