// Two edges on one registry and one object store, with two backends, and what may befall any of them during one command.
import { ADMIN_KEY, type EdgeHarness, startEdge } from '../../support/edge-harness.ts'
import { BACKEND_SECRET, ProtocolBackend } from '../../support/protocol-backend.ts'
import { S3_KEYS, type S3Server, startS3 } from '../../support/s3-server.ts'

export interface World {
  readonly edges: readonly [EdgeHarness, EdgeHarness]
  readonly backends: readonly ProtocolBackend[]
  readonly store: S3Server
  close(): Promise<void>
}

/** `storage` is a folder for what the edges share. */
export async function startWorld(storage: string): Promise<World> {
  const store = await startS3()
  const backends = [await new ProtocolBackend().listen(), await new ProtocolBackend().listen()]
  const secrets = { POLYLORA_BACKEND_SECRET: BACKEND_SECRET, POLYLORA_ADMIN_KEY: ADMIN_KEY }
  const settings = { ...secrets, S3_ENDPOINT: store.url, S3_BUCKET: 'bucket', ...S3_KEYS }
  const start = () => startEdge(backends.map(({ url }) => url).join(','), settings, { storage })
  const edges = [await start(), await start()] as const
  return {
    ...{ edges, backends, store },
    async close() {
      // The one that owns the storage goes last.
      for (const edge of edges.toReversed()) await edge.close()
      for (const backend of backends) await backend.close()
      await store.close()
    },
  }
}

type Arm = (world: World, tenant: string) => Promise<() => unknown>

/** The `nth` request of this method ends without an answer, whether or not the store has done what it asks. */
const lost =
  (method: string, how: 'unheard' | 'unanswered', nth: number): Arm =>
  async ({ store }) => {
    let seen = 0
    store.lose = (asked) => (asked === method && ++seen === nth ? how : undefined)
    return () => {
      store.lose = () => undefined
    }
  }

/** The registry refuses every such statement, and the batch that it is part of. */
const refused =
  (statement: string): Arm =>
  async ({ edges: [{ db }] }) => {
    await db.prepare(`CREATE TRIGGER fault BEFORE ${statement} BEGIN SELECT RAISE(ABORT, 'fault'); END`).run()
    return () => db.prepare('DROP TRIGGER fault').run()
  }

const ailing =
  (which: readonly number[], make: (backend: ProtocolBackend) => unknown): Arm =>
  async ({ backends }) => {
    for (const i of which) await make(backends[i]!)
    return async () => {
      for (const i of which) {
        backends[i]!.reset()
        await backends[i]!.comeBack()
      }
    }
  }

const BACKEND_FAULTS: Record<string, (backend: ProtocolBackend) => unknown> = {
  'is gone': (backend) => backend.vanish(),
  'cuts at once': ({ behaviour }) => Object.assign(behaviour, { cutAfter: 0 }),
  'cuts later': ({ behaviour }) => Object.assign(behaviour, { cutAfter: 2 }),
  'fails later': ({ behaviour }) => Object.assign(behaviour, { failAfter: 2 }),
  'is full': ({ behaviour }) => Object.assign(behaviour, { refuse: 'overloaded' }),
  'keeps no delta': ({ behaviour, deltas }) => {
    behaviour.forgetful = true
    deltas.clear()
  },
}

const STATEMENTS = ['versions', 'aliases', 'tenants', 'uploads', 'deletions', 'erasures'].flatMap((table) =>
  ['INSERT', 'UPDATE', 'DELETE'].map((verb) => `${verb} ON ${table}`),
)

/** What may befall a change. Name -> what happens; the function that is returned puts it right. */
export const STORAGE_FAULTS: Readonly<Record<string, Arm>> = {
  ...Object.fromEntries(
    ['PUT', 'HEAD', 'GET', 'DELETE'].flatMap((method) =>
      (['unheard', 'unanswered'] as const).flatMap((how) =>
        [1, 2].map((nth) => [`${method} ${nth} ${how}`, lost(method, how, nth)] as const),
      ),
    ),
  ),
  ...Object.fromEntries(
    [...STATEMENTS, 'INSERT ON receipts'].map((statement) => [`no ${statement}`, refused(statement)]),
  ),
}

/** What may befall a question. */
export const ANSWER_FAULTS: Readonly<Record<string, Arm>> = {
  'no INSERT ON usage': refused('INSERT ON usage'),
  ...Object.fromEntries(
    Object.entries(BACKEND_FAULTS).flatMap(([fault, make]) =>
      [[0], [1], [0, 1]].map((which) => [`backend ${which.join(' and ')} ${fault}`, ailing(which, make)] as const),
    ),
  ),
}
