// Who is next on vLLM's servers, without any: a replica that is well, of which nothing is asked.
import { afterEach, beforeEach, expect, test } from 'vitest'
import { type Dispatched, Dispatcher } from '../../../../gpu-backend/engine/vllm/dispatcher.ts'
import { Replica } from '../../../../gpu-backend/engine/vllm/replica.ts'
import { VllmClient } from '../../../../gpu-backend/engine/vllm/vllm-client.ts'

class WellClient extends VllmClient {
  override async health(): Promise<void> {}
  override async models(): Promise<[]> {
    return []
  }
}

let replica: Replica
let watched: Promise<void>

beforeEach(async () => {
  replica = new Replica({
    name: 'tested',
    client: new WellClient({ url: 'http://127.0.0.1:9' }, undefined),
    adapterCapacity: 1,
    check: async () => 'base',
    findAdapter: () => undefined,
    onChange: () => {},
    onHung: () => {},
  })
  watched = replica.watch()
  await expect.poll(() => replica.isReady).toBe(true)
})
afterEach(async () => {
  replica.close()
  await watched
})

test('a row of sixteen is for tenants that have none, however many of the others wait and overtake', () => {
  const dispatcher = new Dispatcher([replica], { rows: 16, slots: 1 })
  const started: Dispatched[] = []
  const add = (tenant: string, id: number) => {
    const sequence = { id, tenant, digest: null, start: () => started.push(sequence), fail: () => {} }
    dispatcher.add(sequence)
  }
  for (let id = 0; id < 40; id++) add('greedy', id)
  expect(started).toHaveLength(15)
  for (let id = 40; id < 100; id++) {
    add('modest', id)
    expect(started.at(-1)).toMatchObject({ tenant: 'modest', id })
    replica.leave(started.at(-1)!)
    dispatcher.pump()
    expect(started).toHaveLength(15 + id - 39)
  }
})

test('one whose delta finds no slot is overtaken for a while only, though its turn is not always first', () => {
  const dispatcher = new Dispatcher([replica], { rows: 16, slots: 1 })
  const started: Dispatched[] = []
  let id = 0
  const add = (tenant: string, digest: string | null): Dispatched => {
    const sequence = { id: id++, tenant, digest, start: () => started.push(sequence), fail: () => {} }
    dispatcher.add(sequence)
    return sequence
  }
  for (let row = 0; row < 12; row++) add('greedy', null)
  add('patient', null)
  let flowing = [add('flow', 'loaded')]
  // Its tenant has a row: while but one is free, others are first.
  const waiting = add('patient', 'other')
  for (let round = 0; round < 40; round++) {
    const next = [add(`flow ${id}`, 'loaded'), add(`flow ${id}`, 'loaded')]
    for (const sequence of flowing) if (started.includes(sequence)) replica.leave(sequence)
    dispatcher.pump()
    replica.leave(next[1]!)
    dispatcher.pump()
    flowing = [next[0]!]
  }
  expect(started).toContain(waiting)
})
