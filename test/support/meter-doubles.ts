// Meters that fail, or tell of themselves, each a class for the Worker's module, behind the real one.

export const METER_DOUBLES = {
  /** Cannot start: every call of it fails. */
  MeterThatIsDown: "{ constructor() { throw new Error('down') } }",
  /** Grants requests, and never gets to say so. */
  MeterWithoutAnswers: `extends TenantMeter {
    async reserve(reservation) {
      await super.reserve(reservation)
      throw new Error('Network connection lost.')
    }
  }`,
  /** Does all that it is asked, and does not get to say so the first time that it is asked of a request. */
  MeterThatStumbles: `extends TenantMeter {
    asked = new Set()
    stumble(what) {
      if (this.asked.has(what)) return
      this.asked.add(what)
      throw new Error('Network connection lost.')
    }
    async reserve(reservation) {
      const answer = await super.reserve(reservation)
      this.stumble('reserve ' + reservation.requestId)
      return answer
    }
    async settle(account, nowMs, kept) {
      await super.settle(account, nowMs, kept)
      this.stumble('settle ' + account.record.request_id)
    }
  }`,
  /** Is not there for the first SETTLE_FAILURES settlements of a request. */
  MeterThatMissesSettlements: `extends TenantMeter {
    failed = new Map()
    async settle(account, nowMs, kept) {
      const id = account.record.request_id
      const failed = this.failed.get(id) ?? 0
      this.failed.set(id, failed + 1)
      if (failed < Number(this.env.SETTLE_FAILURES)) throw new Error('Network connection lost.')
      await super.settle(account, nowMs, kept)
    }
  }`,
  /** What it hears reaches it only after the settlement; logs how many requests are open in its storage then. */
  MeterThatHearsLate: `extends TenantMeter {
    late = []
    async hear(account, nowMs) {
      this.late.push(() => super.hear(account, nowMs))
    }
    async settle(account, nowMs, kept) {
      await super.settle(account, nowMs, kept)
      for (const hear of this.late.splice(0)) await hear()
      console.log('open when heard late: ' + (await this.ctx.storage.list({ prefix: 'running:' })).size)
    }
  }`,
  /** Logs how many keys are in its storage once it has granted a request. */
  MeterThatCounts: `extends TenantMeter {
    async reserve(reservation) {
      const answer = await super.reserve(reservation)
      console.log('kept for ' + reservation.requestId + ': ' + (await this.ctx.storage.list()).size)
      return answer
    }
  }`,
  /** Settles a request 2,100 times, each time as another: more than one alarm carries to D1. */
  MeterOfThousands: `extends TenantMeter {
    async settle(account, nowMs, kept) {
      const ids = Array.from({ length: 2100 }, (_, i) => account.record.request_id + '-' + i)
      const each = (request_id) => super.settle({ ...account, record: { ...account.record, request_id } }, nowMs, kept)
      await Promise.all(ids.map(each))
    }
  }`,
} as const

export type MeterDouble = keyof typeof METER_DOUBLES

export const METER_DOUBLE_CLASSES = Object.entries(METER_DOUBLES)
  .map(([name, body]) => `\nexport class ${name} ${body}`)
  .join('')
