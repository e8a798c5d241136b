import { describe, expect, test } from 'vitest'
import { Scheduler } from '../../../gpu-backend/scheduler/scheduler.ts'
import { finishReason, newSequence, type Sequence } from '../../../gpu-backend/scheduler/sequence.ts'
import fc from '../../support/properties.ts'
import { sequenceRequest } from '../../support/sequence-request.ts'

const always = () => true
/** Of the KV cache, for whatever comes. */
const ENOUGH = { contextTokens: 1000, kvTokens: 1e6 }

function sequence(id: number, tenant = 'acme', promptTokens = 3): Sequence {
  return newSequence(sequenceRequest({ id, tenant, promptTokens: new Int32Array(promptTokens) }))
}

/** Lets the next sequence through its whole prompt and into the batch. */
function start(scheduler: Scheduler): Sequence | undefined {
  const admitted = scheduler.admit(always)
  if (admitted) scheduler.join()
  return admitted
}

describe('the scheduler', () => {
  test('reads one prompt at a time, and none where no row is free', () => {
    const scheduler = new Scheduler({ ...ENOUGH, maxRows: 2, prefillChunkTokens: 4 })
    for (const id of [1, 2, 3]) scheduler.add(sequence(id))
    expect(scheduler.admit(always)?.id).toBe(1)
    expect(scheduler.admit(always)).toBeUndefined()
    scheduler.join()
    expect(start(scheduler)?.id).toBe(2)
    expect(scheduler.admit(always)).toBeUndefined()
    scheduler.remove(scheduler.running[0]!)
    expect(start(scheduler)?.id).toBe(3)
    scheduler.checkIntegrity()
  })

  test('keeps a row of sixteen for tenants that have none, however long the answers of the others', () => {
    const scheduler = new Scheduler({ ...ENOUGH, maxRows: 16, prefillChunkTokens: 4 })
    for (let id = 0; id < 20; id++) scheduler.add(sequence(id, 'greedy'))
    for (let row = 0; row < 15; row++) expect(start(scheduler)?.tenant).toBe('greedy')
    expect(start(scheduler)).toBeUndefined()
    for (const id of [20, 21]) scheduler.add(sequence(id, 'modest'))
    expect(start(scheduler)?.id).toBe(20)
    expect(start(scheduler)).toBeUndefined()
    scheduler.remove(scheduler.running.find(({ id }) => id === 20)!)
    expect(start(scheduler)?.id).toBe(21)
  })

  test('names those first that a kept row is for, or their deltas would not be read while others wait before them', () => {
    const scheduler = new Scheduler({ ...ENOUGH, maxRows: 16, prefillChunkTokens: 4 })
    const greedy = ['a', 'b', 'c', 'd', 'e']
    let id = 0
    for (let turn = 0; turn < 4; turn++) for (const tenant of greedy) scheduler.add(sequence(id++, tenant))
    const order = () => scheduler.upcoming().map(({ tenant }) => tenant)
    while (scheduler.running.length < 14) start(scheduler)
    scheduler.add(sequence(id, 'modest'))
    expect(order()).toEqual(['e', 'a', 'b', 'c', 'd', 'modest'])
    start(scheduler)
    expect(order()).toEqual(['modest', ...greedy])
    expect(start(scheduler)?.tenant).toBe('modest')
    expect(order()).toEqual(greedy)
  })

  test('cuts prompts at multiples of the chunk size, wherever the computation starts', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 200 }),
        fc.integer({ min: 1, max: 64 }),
        fc.nat(),
        (prompt, prefillChunkTokens, cached) => {
          const scheduler = new Scheduler({ ...ENOUGH, maxRows: 1, prefillChunkTokens })
          scheduler.add(sequence(1, 'acme', prompt))
          const admitted = scheduler.admit(always)!
          admitted.numComputedTokens = cached % prompt
          let position = admitted.numComputedTokens
          while (position < prompt) {
            const chunk = scheduler.nextChunk()!
            expect(chunk.start).toBe(position)
            expect(chunk.end - chunk.start).toBeLessThanOrEqual(prefillChunkTokens)
            expect(chunk.end === prompt || chunk.end % prefillChunkTokens === 0).toBe(true)
            position = chunk.end
            admitted.numComputedTokens = position
          }
          expect(position).toBe(prompt)
        },
      ),
    )
  })

  test('fills a hole in the batch with the last row and says what must be moved', () => {
    const scheduler = new Scheduler({ ...ENOUGH, maxRows: 3, prefillChunkTokens: 4 })
    const [first, second, third] = [sequence(1), sequence(2), sequence(3)]
    for (const one of [first, second, third]) {
      scheduler.add(one)
      start(scheduler)
    }
    expect(scheduler.remove(first)).toEqual({ sequence: third, from: 2, to: 0 })
    expect(scheduler.running).toEqual([third, second])
    expect(scheduler.remove(second)).toBeUndefined()
    scheduler.checkIntegrity()
  })

  test('moves a prompt up when rows before it became free while it was read', () => {
    const scheduler = new Scheduler({ ...ENOUGH, maxRows: 3, prefillChunkTokens: 4 })
    const [first, second, third] = [sequence(1), sequence(2), sequence(3)]
    for (const one of [first, second]) {
      scheduler.add(one)
      start(scheduler)
    }
    scheduler.add(third)
    scheduler.admit(always)
    scheduler.remove(first)
    scheduler.remove(second)
    expect(scheduler.join()).toMatchObject({ from: 2, to: 0 })
    expect(scheduler.running).toEqual([third])
    scheduler.checkIntegrity()
  })

  test('leaks no row, keeps rows a prefix and each tenant in order, whatever arrives, is cancelled or ends', () => {
    const event = fc.oneof(
      { weight: 4, arbitrary: fc.record({ kind: fc.constant('add'), tenant: fc.constantFrom('a', 'b', 'c') }) },
      { weight: 4, arbitrary: fc.record({ kind: fc.constantFrom('admit', 'join'), tenant: fc.constant('') }) },
      { weight: 3, arbitrary: fc.record({ kind: fc.constant('remove'), tenant: fc.constant(''), which: fc.nat() }) },
    )
    fc.assert(
      fc.property(fc.array(event, { maxLength: 120 }), fc.integer({ min: 1, max: 5 }), (events, maxRows) => {
        const scheduler = new Scheduler({ ...ENOUGH, maxRows, prefillChunkTokens: 4 })
        const alive = new Set<Sequence>()
        const admitted: Sequence[] = []
        // What each row of a cache would hold, moved as the scheduler says.
        const rows: (number | undefined)[] = []
        let [nextId, prefilling] = [1, undefined as Sequence | undefined]
        for (const step of events) {
          switch (step.kind) {
            case 'add': {
              const added = sequence(nextId++, step.tenant)
              alive.add(added)
              scheduler.add(added)
              break
            }
            case 'admit': {
              const taken = scheduler.admit(always)
              if (!taken) break
              prefilling = taken
              admitted.push(taken)
              rows[taken.row] = taken.id
              break
            }
            case 'join': {
              if (!prefilling) break
              const move = scheduler.join()
              if (move) rows[move.to] = rows[move.from]
              prefilling = undefined
              break
            }
            case 'remove': {
              const victim = [...alive][('which' in step ? step.which : 0) % alive.size]
              if (!victim) break
              const move = scheduler.remove(victim)
              if (move) rows[move.to] = rows[move.from]
              alive.delete(victim)
              if (victim === prefilling) prefilling = undefined
            }
          }
          scheduler.checkIntegrity()
          expect(scheduler.running.length + (prefilling ? 1 : 0)).toBeLessThanOrEqual(maxRows)
          expect(new Set(scheduler.find(always))).toEqual(alive)
          for (const running of scheduler.running) expect(rows[running.row]).toBe(running.id)
        }
        for (const tenant of ['a', 'b', 'c']) {
          const order = admitted.filter((one) => one.tenant === tenant).map(({ id }) => id)
          expect(order).toEqual(order.toSorted((x, y) => x - y))
        }
        for (const left of alive) scheduler.remove(left)
        expect(scheduler.isIdle).toBe(true)
        expect(scheduler.waiting).toBe(0)
      }),
      { numRuns: 200 },
    )
  })

  describe('where the KV cache has room for fewer tokens than its rows could hold', () => {
    const scarce = (rows: number, kvTokens: number, contextTokens = 1280) =>
      new Scheduler({ maxRows: rows, contextTokens, kvTokens, prefillChunkTokens: 64 })
    /** What a sequence holds from the beginning on, that has 16 tokens and may have many. */
    const AT_FIRST = 576
    /** Of so many tokens as it may have at most. */
    const upTo = (id: number, tokens: number, tenant = `tenant-${id}`) =>
      newSequence(sequenceRequest({ id, tenant, promptTokens: new Int32Array(16).fill(id), maxTokens: tokens - 16 }))
    /** As a step does. */
    const step = (scheduler: Scheduler) => {
      const { going } = scheduler.goOn()
      for (const one of going) one.numComputedTokens++
      return going.map(({ id }) => id)
    }
    const startAll = (scheduler: Scheduler) => {
      let started: Sequence | undefined
      do {
        started = start(scheduler)
        if (started) started.numComputedTokens = started.promptTokens.length
      } while (started)
      return scheduler.running.map(({ id }) => id)
    }

    test('as many sequences run as it has room for now, though not all could become as long as they may', () => {
      const scheduler = scarce(8, 1280 + 5 * AT_FIRST)
      for (let id = 1; id <= 8; id++) scheduler.add(upTo(id, 1280))
      expect(startAll(scheduler)).toEqual([1, 2, 3, 4, 5, 6])
      expect(scheduler.heldTokens()).toEqual([...new Array<number>(6).fill(AT_FIRST), 0, 0])
    })

    test('the first goes on where others must wait, and those after it once it has ended', () => {
      const scheduler = scarce(2, 1280 + AT_FIRST)
      for (const id of [1, 2]) scheduler.add(upTo(id, 1280))
      startAll(scheduler)
      const [first, second] = scheduler.running as [Sequence, Sequence]
      while (step(scheduler).length === 2);
      expect(second.numComputedTokens).toBeLessThan(AT_FIRST)
      expect(second.numComputedTokens).toBeGreaterThan(512)
      while (first.numComputedTokens < 1279) expect(step(scheduler)).toEqual([1])
      expect(scheduler.heldTokens()).toEqual([1280, AT_FIRST])
      expect(scheduler).toMatchObject({ stalled: 1, kvUsage: 1 })
      scheduler.remove(first)
      while (second.numComputedTokens < 1279) expect(step(scheduler)).toEqual([2])
    })

    test('nobody but a tenant’s first begins while one of the batch must wait', () => {
      const scheduler = scarce(4, 1280 + AT_FIRST + 50)
      for (const one of [upTo(1, 1280, 'acme'), upTo(2, 1280, 'acme')]) scheduler.add(one)
      startAll(scheduler)
      while (step(scheduler).length === 2);
      scheduler.add(upTo(3, 32, 'acme'))
      scheduler.add(upTo(4, 32, 'bravo'))
      expect(startAll(scheduler)).toEqual([1, 2, 4])
      scheduler.remove(scheduler.running[1]!)
      step(scheduler)
      expect(startAll(scheduler)).toEqual([1, 4, 3])
    })

    test('names those first that it has room for, or their deltas would not be read while others wait before them', () => {
      const scheduler = scarce(16, 16 * 600)
      const greedy = ['a', 'b', 'c', 'd', 'e']
      let id = 0
      for (let turn = 0; turn < 4; turn++) for (const tenant of greedy) scheduler.add(upTo(id++, 1280, tenant))
      // Rows are free, of which none is kept yet.
      expect(startAll(scheduler).length).toBeLessThan(15)
      const order = () => scheduler.upcoming().map(({ tenant }) => tenant)
      const before = order()
      scheduler.add(upTo(id++, 100, 'modest'))
      expect(order()).toEqual(['modest', ...before])
      expect(start(scheduler)?.tenant).toBe('modest')
      for (let i = 0; i < 3; i++) scheduler.remove(scheduler.running[0]!)
      expect(start(scheduler)?.tenant).toBe(before[0])
      scheduler.add(upTo(id, 100, 'late'))
      expect(order()).toEqual([...before.slice(1), before[0], 'late'])
    })

    test('names those first that may begin while one of the batch must wait', () => {
      const scheduler = scarce(4, 1280 + AT_FIRST + 50)
      for (const id of [1, 2]) scheduler.add(upTo(id, 1280, 'acme'))
      startAll(scheduler)
      while (step(scheduler).length === 2);
      scheduler.add(upTo(3, 32, 'acme'))
      expect(start(scheduler)).toBeUndefined()
      scheduler.add(upTo(4, 32, 'bravo'))
      expect(scheduler.upcoming().map(({ id }) => id)).toEqual([4, 3])
      expect(startAll(scheduler)).toEqual([1, 2, 4])
    })

    test('a long prompt is not passed by shorter ones for ever, but keeps no other tenant from its first row', () => {
      const scheduler = scarce(4, 1280 + 64)
      scheduler.add(upTo(1, 1280))
      startAll(scheduler)
      const long = newSequence(sequenceRequest({ id: 2, tenant: 'long', promptTokens: new Int32Array(1000) }))
      scheduler.add(long)
      scheduler.add(upTo(3, 20))
      expect(start(scheduler)).toBeUndefined()
      scheduler.remove(scheduler.running[0]!)
      expect(start(scheduler)).toBe(long)
      expect(start(scheduler)?.id).toBe(3)
      const another = newSequence({ ...long, id: 4 })
      scheduler.add(another)
      scheduler.add(upTo(5, 20))
      expect(start(scheduler)?.id).toBe(5)
    })

    test('who holds many rows leaves room for tenants that have none, as it leaves them a row', () => {
      const scheduler = scarce(16, 16 * 600)
      for (let id = 1; id <= 16; id++) scheduler.add(upTo(id, 1280, 'greedy'))
      startAll(scheduler)
      for (let i = 0; i < 1000; i++) step(scheduler)
      const held = scheduler.heldTokens().reduce((sum, tokens) => sum + tokens, 0)
      expect(held).toBeLessThanOrEqual(15 * 600)
      scheduler.add(upTo(99, 100, 'modest'))
      expect(startAll(scheduler)).toContain(99)
    })

    test('nobody stalls, whoever else is there, where it has room for all that rows could hold', () => {
      const scheduler = scarce(16, 16 * 1280)
      for (let id = 1; id <= 15; id++) scheduler.add(upTo(id, 1280, 'greedy'))
      expect(startAll(scheduler)).toHaveLength(15)
      scheduler.add(upTo(16, 1280, 'modest'))
      expect(startAll(scheduler)).toHaveLength(16)
      for (let i = 0; i < 1200; i++) expect(step(scheduler)).toHaveLength(16)
    })

    test('every sequence ends, the oldest goes on in each step, and no more is held than there is', () => {
      const request = fc.record({
        prompt: fc.integer({ min: 1, max: 300 }),
        more: fc.oneof(fc.integer({ min: 1, max: 20 }), fc.integer({ min: 600, max: 980 })),
        tenant: fc.constantFrom('a', 'b', 'c'),
      })
      let waits = 0
      fc.assert(
        fc.property(
          fc.array(request, { minLength: 8, maxLength: 16 }),
          fc.integer({ min: 1, max: 20 }),
          fc.integer({ min: 1280, max: 4000 }),
          (requests, maxRows, kvTokens) => {
            const scheduler = scarce(maxRows, kvTokens)
            for (const [id, { prompt, more, tenant }] of requests.entries()) {
              const [promptTokens, maxTokens] = [new Int32Array(prompt), more]
              scheduler.add(newSequence(sequenceRequest({ id, tenant, promptTokens, maxTokens })))
            }
            const order: Sequence[] = []
            // What each row of a cache would hold, moved as the scheduler says.
            const rows: number[] = []
            const remove = (one: Sequence) => {
              const move = scheduler.remove(one)
              if (move) rows[move.to] = rows[move.from]!
            }
            while (!scheduler.isIdle) {
              const admitted = scheduler.admit(always)
              if (admitted) order.push(admitted)
              const { going, swaps } = scheduler.goOn()
              for (const { rows: swapped, tokens } of swaps) {
                const [one, other] = swapped
                ;[rows[one], rows[other]] = [rows[other]!, rows[one]!]
                expect([other, one].map((row) => scheduler.running[row]!.numComputedTokens)).toEqual(tokens)
              }
              scheduler.checkIntegrity()
              const { running } = scheduler
              const held = scheduler.heldTokens()
              expect(running.every(({ id, row }) => rows[row] === id)).toBe(true)
              expect(running.every(({ row, numComputedTokens }) => held[row]! > numComputedTokens)).toBe(true)
              expect(going.every((one, index) => one === running[index])).toBe(true)
              expect(held.reduce((sum, tokens) => sum + tokens, 0)).toBeLessThanOrEqual(kvTokens)
              const oldest = order.find((one) => running.includes(one))
              expect(oldest === undefined || going.includes(oldest)).toBe(true)
              waits += scheduler.running.length - going.length
              for (const one of going) {
                one.numComputedTokens++
                const last = one.promptTokens.length + one.maxTokens - 1
                if (one.numComputedTokens >= last) remove(one)
              }
              if (!admitted) continue
              admitted.numComputedTokens = admitted.promptTokens.length
              rows[scheduler.join().to] = admitted.id
              if (admitted.maxTokens === 1) remove(admitted)
            }
            expect(order).toHaveLength(requests.length)
          },
        ),
        { numRuns: 30 },
      )
      expect(waits).toBeGreaterThan(1000)
    })
  })

  test('lets a small tenant in after at most one turn of every other, however much they queue', () => {
    const scheduler = new Scheduler({ ...ENOUGH, maxRows: 1, prefillChunkTokens: 4 })
    for (let id = 1; id <= 50; id++) scheduler.add(sequence(id, id % 2 === 0 ? 'large' : 'larger'))
    start(scheduler)
    scheduler.add(sequence(99, 'small'))
    const order: string[] = []
    while (!scheduler.isIdle) {
      scheduler.remove(scheduler.running[0]!)
      const next = start(scheduler)
      if (next) order.push(next.tenant)
    }
    expect(order.indexOf('small')).toBeLessThanOrEqual(2)
    expect(order).toHaveLength(50)
  })
})

describe('a sequence', () => {
  test('ends with a stop token, with its last token, and not before', () => {
    const one = newSequence(sequenceRequest({ id: 1, endTokenIds: [7], maxTokens: 3 }))
    expect(finishReason(one)).toBeUndefined()
    one.outputTokens.push(5)
    expect(finishReason(one)).toBeUndefined()
    one.outputTokens.push(5, 5)
    expect(finishReason(one)).toBe('length')
    one.outputTokens[2] = 7
    expect(finishReason(one)).toBe('stop')
  })
})
