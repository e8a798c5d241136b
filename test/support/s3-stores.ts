// S3-speaking servers as stores of the edge, with a look behind them. `s3rver` is the npm package of that name: it checks
// signatures, and takes the payload's hash on trust, as some stores do. `strictS3` checks that hash as well, as AWS does.
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import S3rver from '@20minutes/s3rver'
import { S3_KEYS, startS3 } from './s3-server.ts'

const BUCKET = 'bucket'
/** The one account that s3rver knows. */
const S3RVER_KEYS = { S3_ACCESS_KEY_ID: 'S3RVER', S3_SECRET_ACCESS_KEY: 'S3RVER' }

export interface S3Store {
  /** As the edge is configured with it. */
  readonly settings: Readonly<Record<string, string>>
  /** The stored object, straight from where the server keeps it. */
  object(key: string): Buffer | undefined
  remove(key: string): void
  close(): Promise<void>
}

const settings = (url: string, keys: Record<string, string>): Record<string, string> => ({
  S3_ENDPOINT: url,
  S3_BUCKET: BUCKET,
  S3_REGION: 'eu-central-1',
  ...keys,
})

export async function s3rver(): Promise<S3Store> {
  const directory = mkdtempSync(join(tmpdir(), 'polylora-s3-'))
  const options = { address: '127.0.0.1', port: 0, silent: true, directory, configureBuckets: [{ name: BUCKET }] }
  const server = new S3rver(options)
  const { port } = await server.run()
  const file = (key: string) => join(directory, BUCKET, `${key}._S3rver_object`)
  return {
    settings: settings(`http://127.0.0.1:${port}`, S3RVER_KEYS),
    object: (key) => (existsSync(file(key)) ? readFileSync(file(key)) : undefined),
    remove: (key) => rmSync(file(key)),
    async close() {
      await server.close()
      rmSync(directory, { recursive: true })
    },
  }
}

/** With the server itself, to make it full and to see what has arrived. */
export async function strictS3() {
  const server = await startS3()
  return {
    server,
    settings: settings(server.url, S3_KEYS),
    object: (key: string) => server.objects.get(`/${BUCKET}/${key}`),
    remove: (key: string) => void server.objects.delete(`/${BUCKET}/${key}`),
    close: () => server.close(),
  }
}
