import { afterAll, beforeAll } from 'vitest'
import { ADMIN_KEY, type EdgeHarness, startEdge } from './edge-harness.ts'
import { BACKEND_SECRET, ProtocolBackend } from './protocol-backend.ts'
import { S3_KEYS, type S3Server, startS3 } from './s3-server.ts'

/** An edge with R2 or an S3-compatible store, for the tests around this call; there once they run, after `prepare`. */
export function edgeOnStore(kind: 'R2' | 'S3', prepare: (edge: EdgeHarness) => Promise<void>) {
  let storage: S3Server
  const setup = { storedKeys, putObject } as {
    backend: ProtocolBackend
    edge: EdgeHarness
    storedKeys(): Promise<string[]>
    putObject(key: string, bytes: Uint8Array<ArrayBuffer>): Promise<void>
  }

  beforeAll(async () => {
    storage = await startS3()
    setup.backend = await new ProtocolBackend().listen()
    const secrets = { POLYLORA_BACKEND_SECRET: BACKEND_SECRET, POLYLORA_ADMIN_KEY: ADMIN_KEY }
    const s3 = kind === 'S3' ? { S3_ENDPOINT: storage.url, S3_BUCKET: 'bucket', ...S3_KEYS } : {}
    setup.edge = await startEdge(setup.backend.url, { ...secrets, ...s3 })
    await prepare(setup.edge)
  })
  afterAll(async () => {
    await setup.edge?.close()
    await setup.backend?.close()
    await storage?.close()
  })

  /** Of every object that is stored. */
  async function storedKeys(): Promise<string[]> {
    return kind === 'R2'
      ? (await setup.edge.deltas.list()).objects.map(({ key }) => key)
      : [...storage.objects.keys()].map((path) => path.replace('/bucket/', ''))
  }

  /** Puts an object into the bucket, past the edge. */
  async function putObject(key: string, bytes: Uint8Array<ArrayBuffer>): Promise<void> {
    if (kind === 'R2') await setup.edge.deltas.put(key, bytes)
    else storage.objects.set(`/bucket/${key}`, Buffer.from(bytes))
  }
  return setup
}
