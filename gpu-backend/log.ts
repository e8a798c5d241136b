// Structured logs: one JSON object a line on stderr. Never a prompt, an answer, a token or a secret.

export type LogFields = Readonly<Record<string, string | number | boolean | null | undefined>>

/** Writes one event; undefined fields are left out. */
export function log(level: 'info' | 'warn' | 'error', event: string, fields: LogFields = {}): void {
  process.stderr.write(`${JSON.stringify({ time: new Date().toISOString(), level, event, ...fields })}\n`)
}
