// What one run of commands knows: the world, the model of it, and what is still on its way.
import { digestOf, type EdgeHarness, makeDelta } from '../../support/edge-harness.ts'
import type { KeyState, NameState, TenantState } from './model.ts'
import type { World } from './world.ts'

/** One command: which it is, numbers that it chooses by, and the fault that it meets. */
export interface Step {
  readonly command: string
  readonly tenant: number
  readonly pick: number
  readonly edge: number
  readonly fault: string | null
}

/** What a command is given. */
export interface Scene {
  readonly run: Run
  readonly step: Step
  readonly tenant: TenantState
  readonly edge: EdgeHarness
  /** Of the adapter. */
  readonly name: string
  readonly bytes: Uint8Array<ArrayBuffer>
  readonly digest: string
}

/** Carries a command out, and returns what is to be checked once its fault is over. */
export type Command = (scene: Scene) => Promise<(() => Promise<void>) | undefined>

/** A request whose body comes later, or an answer that is read later. */
export interface Pending {
  finish(): Promise<void>
}

interface LastChange {
  readonly atMs: number
  readonly digests: Set<string>
}

/** Longer than one edge goes by what another has changed. */
export const STALE_MS = 6_000
let runs = 0

export class Run {
  readonly world: World
  readonly id = `r${++runs}`
  readonly tenants: TenantState[] = []
  readonly deleted: TenantState[] = []
  readonly pending: Pending[] = []
  /** By the second edge, of a name. */
  readonly #changed = new Map<string, LastChange>()

  constructor(world: World) {
    this.world = world
  }

  sceneOf(step: Step, tenant: TenantState): Scene {
    // Some deltas are every tenant's.
    const own = step.pick % 3 === 0 ? 0 : tenant.number + 1
    const bytes = makeDelta(runs * 1000 + own * 10 + (step.pick % 4))
    const name = `n${step.pick % 2}`
    return {
      ...{ run: this, step, tenant, name, bytes, digest: digestOf(bytes) },
      edge: this.world.edges[step.edge % 2]!,
    }
  }

  /** A key that is good for everything. */
  keyOf({ keys }: TenantState): KeyState {
    return keys[0]!
  }

  setName(tenant: TenantState, name: string, state: NameState | undefined, edge: EdgeHarness | 'both'): void {
    const before = tenant.names.get(name)
    if (state) tenant.names.set(name, state)
    else tenant.names.delete(name)
    const full = `${tenant.id}/${name}`
    const last = this.#changed.get(full)
    const isRecent = last !== undefined && Date.now() - last.atMs < STALE_MS
    if (edge === this.world.edges[0] && !isRecent) return
    const digests = new Set(isRecent ? last.digests : [])
    for (const each of [before, state])
      for (const digest of [each?.digest, each?.canary]) if (digest) digests.add(digest)
    this.#changed.set(full, { atMs: Date.now(), digests })
  }

  /** What the first edge may answer with, of a request that sets out at `atMs`; undefined: that there is no such name. */
  servedBy(tenant: TenantState, name: string, atMs: number): (string | null | undefined)[] {
    const state = tenant.names.get(name)
    const last = this.#changed.get(`${tenant.id}/${name}`)
    const remembered = last && atMs - last.atMs < STALE_MS ? [...last.digests, undefined] : []
    return [...(state ? [state.digest, state.canary] : [undefined]), ...remembered]
  }
}
