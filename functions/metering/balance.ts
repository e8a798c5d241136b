// What a tenant has paid and what is left of it, in the meter's storage; and the same of the tenant of this name that was
// deleted last. Amounts are in nano units. Invariant: a payment counts once.

const SCHEMA = `
  CREATE TABLE IF NOT EXISTS credits (id TEXT PRIMARY KEY, amount_nano INTEGER NOT NULL, created_ms INTEGER NOT NULL);
  CREATE TABLE IF NOT EXISTS balance (one INTEGER PRIMARY KEY CHECK (one = 1), nano INTEGER NOT NULL);
  CREATE TABLE IF NOT EXISTS closed_credits (
    id TEXT PRIMARY KEY, amount_nano INTEGER NOT NULL, created_ms INTEGER NOT NULL);
  CREATE TABLE IF NOT EXISTS closed_balance (one INTEGER PRIMARY KEY CHECK (one = 1), nano INTEGER NOT NULL);
`

type Payment = { id: string; amount_nano: number; created_ms: number }

/** What was paid in, and what of it had not been used. */
export interface ClosedBalance {
  readonly balance_nano: number
  readonly credits: Payment[]
}

export class Balance {
  readonly #sql: SqlStorage

  constructor(sql: SqlStorage) {
    this.#sql = sql
    sql.exec(SCHEMA)
  }

  nano(): number {
    return this.#nano('balance')
  }

  /** Adds a payment, where none came under its id before; false where one of another amount did. */
  credit(id: string, amountNano: number, nowMs: number): boolean {
    const known = this.#sql
      .exec<{ amount_nano: number }>('SELECT amount_nano FROM credits WHERE id = ?', id)
      .toArray()[0]
    if (known) return known.amount_nano === amountNano
    this.#sql.exec('INSERT INTO credits VALUES (?, ?, ?)', id, amountNano, nowMs)
    this.charge(-amountNano)
    return true
  }

  charge(nano: number): void {
    if (nano === 0) return
    this.#sql.exec('INSERT INTO balance VALUES (1, ?) ON CONFLICT DO UPDATE SET nano = nano + excluded.nano', -nano)
  }

  closing(): ClosedBalance {
    return { balance_nano: this.nano(), credits: this.#payments('credits') }
  }

  /** For whoever asks for it again; into storage that was emptied. */
  keepClosed({ balance_nano: nano, credits }: ClosedBalance): void {
    this.#sql.exec('INSERT INTO closed_balance VALUES (1, ?)', nano)
    for (const { id, amount_nano: amountNano, created_ms: createdMs } of credits) {
      this.#sql.exec('INSERT INTO closed_credits VALUES (?, ?, ?)', id, amountNano, createdMs)
    }
  }

  closed(): ClosedBalance {
    return { balance_nano: this.#nano('closed_balance'), credits: this.#payments('closed_credits') }
  }

  #nano(table: 'balance' | 'closed_balance'): number {
    return this.#sql.exec<{ nano: number }>(`SELECT nano FROM ${table}`).toArray()[0]?.nano ?? 0
  }

  #payments(table: 'credits' | 'closed_credits'): Payment[] {
    return this.#sql.exec<Payment>(`SELECT * FROM ${table} ORDER BY created_ms, id`).toArray()
  }
}
