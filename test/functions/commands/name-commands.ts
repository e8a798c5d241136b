// Names are published, moved and removed, one change at a time, two at once, and by who is long in sending it.
import { expect } from 'vitest'
import { digestOf, type EdgeHarness } from '../../support/edge-harness.ts'
import { slowRequest } from '../../support/slow-request.ts'
import {
  type Change,
  movingTo,
  type NameState,
  outcomes,
  publishing,
  removing,
  rollingBack,
  splitting,
  type TenantState,
} from './model.ts'
import type { Command, Run, Scene } from './run.ts'

interface Answer {
  readonly status: number
  readonly text: string
}
interface NameChange {
  readonly change: Change
  readonly send: () => Promise<Answer>
}

const CHANGES: Readonly<Record<string, (scene: Scene) => NameChange>> = {
  publish: (scene) => ({ change: publishing(scene.digest, false), send: () => put(scene, '') }),
  publishKeep: (scene) => ({ change: publishing(scene.digest, true), send: () => put(scene, '?alias=keep') }),
  publishParts: (scene) => ({ change: publishing(scene.digest, false), send: () => sendParts(scene, 2) }),
  alias: (scene) => ({
    change: movingTo(scene.digest),
    send: () => send(scene, 'PUT', '/alias', JSON.stringify({ digest: scene.digest })),
  }),
  rollback: (scene) => ({ change: rollingBack, send: () => send(scene, 'POST', '/rollback') }),
  canary: (scene) => ({
    change: splitting(scene.digest),
    send: () => send(scene, 'PUT', '/canary', JSON.stringify({ digest: scene.digest, weight: 0.5 })),
  }),
  remove: (scene) => ({ change: removing, send: () => send(scene, 'DELETE', '') }),
}
const KINDS = Object.keys(CHANGES)

async function send(
  { run, tenant, name, edge }: Scene,
  method: string,
  path: string,
  body?: string | Uint8Array<ArrayBuffer>,
): Promise<Answer> {
  const headers = body instanceof Uint8Array ? { 'x-polylora-digest': digestOf(body) } : {}
  const init = { method, headers, ...(body === undefined ? {} : { body }) }
  const response = await edge.call(run.keyOf(tenant).secret, `/v1/adapters/${tenant.id}/${name}${path}`, init)
  return { status: response.status, text: await response.text() }
}

const put = (scene: Scene, query: string) => send(scene, 'PUT', query, scene.bytes)

/** The first `count` of two parts; both are published. */
async function sendParts(scene: Scene, count: number): Promise<Answer> {
  const cut = scene.bytes.length >> 1
  const upload = `/uploads/${scene.digest}`
  for (const [i, part] of [scene.bytes.slice(0, cut), scene.bytes.slice(cut)].slice(0, count).entries()) {
    const sent = await send(scene, 'PUT', `${upload}/${i + 1}`, part)
    if (sent.status !== 204 || count === 1) return sent
  }
  return send(scene, 'POST', upload)
}

/** What an edge shows of a name. */
export async function shown(
  run: Run,
  tenant: TenantState,
  name: string,
  edge: EdgeHarness,
): Promise<NameState | undefined> {
  const response = await edge.call(run.keyOf(tenant).secret, `/v1/adapters/${tenant.id}/${name}`)
  if (response.status === 404) return undefined
  const { digest, previous_digest, canary, versions } = (await response.json()) as {
    digest: string
    previous_digest: string | null
    canary: { digest: string } | null
    versions: { digest: string }[]
  }
  return {
    ...{ digest, previous: previous_digest, canary: canary?.digest ?? null },
    versions: versions.map((version) => version.digest).sort(),
  }
}

/** Both edges show one of these. */
async function expectOneOf(
  { run, tenant, name, edge }: Scene,
  states: readonly (NameState | undefined)[],
  by: EdgeHarness | 'both' = edge,
): Promise<void> {
  const seen = await shown(run, tenant, name, run.world.edges[0])
  expect(states).toContainEqual(seen)
  expect(await shown(run, tenant, name, run.world.edges[1])).toEqual(seen)
  run.setName(tenant, name, seen, by)
}

const alone =
  (kind: string): Command =>
  async (scene) => {
    const { change, send } = CHANGES[kind]!(scene)
    const before = scene.tenant.names.get(scene.name)
    const after = change(before)
    const { status, text } = await send()
    const isFaulty = scene.step.fault !== null || text.includes('being_deleted')
    return async () => {
      if (status < 300) {
        expect(after, text).not.toBeTypeOf('number')
        return expectOneOf(scene, [after as NameState | undefined])
      }
      if (!isFaulty) expect(status, text).toBe(after)
      return expectOneOf(scene, isFaulty && typeof after !== 'number' ? [before, after] : [before])
    }
  }

/** Two changes of one name at once, one at each edge. */
const pair: Command = async (scene) => {
  const { run, step, tenant, name } = scene
  const before = tenant.names.get(name)
  const scenes = [scene, { ...run.sceneOf({ ...step, pick: step.pick + 2, edge: step.edge + 1 }, tenant) }]
  const kinds = [step.pick, step.pick * 5 + step.edge].map((n) => KINDS[n % KINDS.length]!)
  const changes = scenes.map((each, i) => CHANGES[kinds[i]!]!(each))
  const answers = await Promise.all(changes.map(({ send }) => send()))
  const told = changes.map(({ change }, i) => ({ change, status: answers[i]!.status }))
  return () => expectOneOf(scene, outcomes(before, told), 'both')
}

/** An upload that nobody goes on with. */
const leaveParts: Command = async (scene) => {
  const before = scene.tenant.names.get(scene.name)
  await sendParts(scene, 1)
  return () => expectOneOf(scene, [before])
}

/** A publication whose bytes come later, all of them or the last. */
const publishSlowly: Command = async ({ run, step, tenant, edge, name, bytes, digest }) => {
  const { secret } = run.keyOf(tenant)
  const request = {
    ...{ method: 'PUT', path: `/v1/adapters/${tenant.id}/${name}` },
    headers: { 'x-polylora-digest': digest },
  }
  const slow = slowRequest(edge, secret, request, bytes, step.edge % 2 === 0 ? 1 : bytes.length - 1)
  // Once a later request is through, this one waits for its body.
  await edge.call(secret, '/v1/key')
  run.pending.push({
    async finish() {
      const heir = run.tenants.find(({ id }) => id === tenant.id)
      const before = heir?.names.get(name)
      const { status, text } = await slow.finish()
      if (heir !== tenant) expect(status, text).toBeOneOf([401, 409])
      if (!heir) return
      const seen = await shown(run, heir, name, edge)
      expect(seen).toEqual(status! < 300 ? publishing(digest, false)(before) : before)
      run.setName(heir, name, seen, 'both')
    },
  })
  return undefined
}

/** What another tenant may see and change of a name. */
const trespass: Command = async ({ run, tenant, edge, name }) => {
  const other = run.tenants.find((each) => each !== tenant)
  if (!other) return undefined
  const { secret } = run.keyOf(other)
  const path = `/v1/adapters/${tenant.id}/${name}`
  for (const [method, to] of [
    ['GET', ''],
    ['POST', '/rollback'],
    ['DELETE', '/canary'],
    ['DELETE', ''],
  ] as const) {
    expect((await edge.call(secret, `${path}${to}`, { method })).status).toBe(404)
  }
  expect(await (await edge.call(secret, '/v1/adapters')).text()).not.toContain(`"${tenant.id}/`)
  return undefined
}

export const NAME_COMMANDS: Readonly<Record<string, Command>> = {
  ...Object.fromEntries(KINDS.map((kind) => [kind, alone(kind)])),
  ...{ pair, leaveParts, publishSlowly, trespass },
}
