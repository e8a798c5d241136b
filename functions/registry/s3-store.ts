// Object storage in any S3-compatible store, through the AWS SDK.
// Method: the payload's SHA-256 is part of an S3 request's signature (AWS Signature Version 4), and here it is the digest
// that the client declared, so that a store which follows the protocol refuses other bytes. Not all do: the bytes are
// hashed on the way as well, and the last one is held back until they match. A store keeps nothing of a request that breaks
// off, and so neither wrong bytes nor the removal of wrong bytes reaches an object that somebody else has put there meanwhile.
import {
  DeleteObjectCommand,
  GetObjectCommand,
  HeadObjectCommand,
  PutObjectCommand,
  S3Client,
} from '@aws-sdk/client-s3'
import * as z from 'zod/mini'
import { hexOf } from '../../adapters/digest.ts'
import type { Digest } from '../../gpu-backend/protocol.ts'
import { type Bindings, ConfigError } from '../env.ts'
import {
  type ByteRange,
  DigestMismatch,
  type Folder,
  hashOf,
  type ObjectStore,
  objectKey,
  partKey,
  STORE_PATIENCE_MS,
} from './objects.ts'

const Settings = z.object({
  S3_ENDPOINT: z.url({ protocol: /^https?$/ }),
  S3_BUCKET: z.string().check(z.minLength(1)),
  S3_REGION: z._default(z.string(), 'auto'),
  S3_ACCESS_KEY_ID: z.string().check(z.minLength(1)),
  S3_SECRET_ACCESS_KEY: z.string().check(z.minLength(1)),
})
type Settings = z.infer<typeof Settings>

/** Where the store is sent no body first. */
const SOON = { requestTimeout: STORE_PATIENCE_MS }
/** So fast a store writes down what it has been sent, at least: 1 MB a second. */
const SLOWEST_BYTES_PER_MS = 1_000

/** @throws ConfigError naming the variable or secret that is missing */
export function s3Store(env: Bindings, folder: Folder): ObjectStore {
  const parsed = Settings.safeParse(env)
  if (!parsed.success) {
    throw new ConfigError(
      `The setting ${String(parsed.error.issues[0]!.path[0])} is missing or wrong: see functions/README.md.`,
    )
  }
  const client = makeClient(parsed.data)
  const Bucket = parsed.data.S3_BUCKET
  const send = (
    Key: string,
    hex: string,
    Body: ReadableStream<Uint8Array>,
    ContentLength: number,
    abortSignal: AbortSignal,
  ) => {
    const command = new PutObjectCommand({ Bucket, Key, Body, ContentLength })
    command.middlewareStack.add(
      (next) => (args) => {
        const { headers } = args.request as { headers: Record<string, string> }
        headers['x-amz-content-sha256'] = hex
        return next(args)
      },
      { step: 'build', name: 'declaredPayloadHash' },
    )
    return client.send(command, { abortSignal })
  }
  const remove = (Key: string) => client.send(new DeleteObjectCommand({ Bucket, Key }), SOON)
  const tryGetBytes = async (Key: string): Promise<number | undefined> => {
    const head = new HeadObjectCommand({ Bucket, Key })
    return await client.send(head, SOON).then(({ ContentLength = 0 }) => ContentLength, absent)
  }
  const put = async (key: string, digest: Digest, body: ReadableStream<Uint8Array>, bytes: number): Promise<void> => {
    const hex = hashOf(digest)
    if ((await tryGetBytes(key)) === bytes) {
      // Who publishes a delta must have it, even where it is stored already.
      const hash = new crypto.DigestStream('SHA-256')
      await body.pipeTo(hash)
      if (hexOf(await hash.digest) !== hex) throw new DigestMismatch()
      return
    }
    // How long the body takes is the client's choice; what comes after it is the store's.
    const tooSlow = new AbortController()
    let timer: ReturnType<typeof setTimeout> | null = null
    const checked = checkedBy(hex, () => {
      timer = setTimeout(() => tooSlow.abort(), STORE_PATIENCE_MS + bytes / SLOWEST_BYTES_PER_MS)
    })
    const sent = body.pipeThrough(checked.through).pipeThrough(new FixedLengthStream(bytes))
    try {
      await send(key, hex, sent, bytes, tooSlow.signal)
    } catch (error) {
      throw checked.mismatches() ? new DigestMismatch() : error
    } finally {
      clearTimeout(timer)
    }
  }
  const tryOpen = async (Key: string, range?: ByteRange) => {
    try {
      const wanted = range ? { Range: `bytes=${range.start}-${range.end}` } : {}
      const { Body, ContentLength } = await client.send(new GetObjectCommand({ Bucket, Key, ...wanted }), SOON)
      if (!Body || ContentLength === undefined) return undefined
      return { body: Body.transformToWebStream() as ReadableStream<Uint8Array>, bytes: ContentLength }
    } catch (error) {
      return absent(error)
    }
  }

  return {
    put: (digest, body, bytes) => put(objectKey(folder, digest), digest, body, bytes),
    tryOpen: (digest, range) => tryOpen(objectKey(folder, digest), range),
    tryGetBytes: (digest) => tryGetBytes(objectKey(folder, digest)),
    async delete(digests) {
      for (const digest of digests) await remove(objectKey(folder, digest))
    },
    async putPart(key, digest, body, bytes) {
      await remove(partKey(key))
      await put(partKey(key), digest, body, bytes)
    },
    // One after another until one is missing: the SDK cannot read the XML of a listing in a Worker.
    async listParts(upload) {
      const sizes = new Map<number, number>()
      for (let part = 1; ; part++) {
        const bytes = await tryGetBytes(partKey({ ...upload, part }))
        if (bytes === undefined) return sizes
        sizes.set(part, bytes)
      }
    },
    async tryOpenPart(key) {
      return (await tryOpen(partKey(key)))?.body
    },
    async deleteParts(upload, lastPart) {
      for (let part = lastPart; part > 0; part--) await remove(partKey({ ...upload, part }))
    },
  }
}

function makeClient({ S3_ENDPOINT: endpoint, S3_REGION: region, ...keys }: Settings): S3Client {
  const client = new S3Client({
    endpoint,
    region,
    forcePathStyle: true,
    credentials: { accessKeyId: keys.S3_ACCESS_KEY_ID, secretAccessKey: keys.S3_SECRET_ACCESS_KEY },
    // The SDK's own checksums would need a second encoding of the body; the signature covers it already.
    requestChecksumCalculation: 'WHEN_REQUIRED',
    responseChecksumValidation: 'WHEN_REQUIRED',
    // A stream can be sent once.
    maxAttempts: 1,
  })
  client.middlewareStack.add((next) => (args) => next(args).catch(toRefusal), { step: 'initialize', name: 'refusal' })
  return client
}

/**
 * Passes bytes on, the last one only once all of them hash to `hex`: the stream breaks off where they do not. `onPassed` is
 * called when all have been passed on.
 */
function checkedBy(hex: string, onPassed: () => void) {
  const hash = new crypto.DigestStream('SHA-256')
  const writer = hash.getWriter()
  let mismatches = false
  let last: Uint8Array | undefined
  const through = new TransformStream<Uint8Array, Uint8Array>({
    async transform(piece, controller) {
      if (piece.byteLength === 0) return
      await writer.write(piece)
      if (last) controller.enqueue(last)
      controller.enqueue(piece.subarray(0, -1))
      last = piece.slice(-1)
    },
    async flush(controller) {
      await writer.close()
      mismatches = hexOf(await hash.digest) !== hex
      if (mismatches) throw new DigestMismatch()
      if (last) controller.enqueue(last)
      onPassed()
    },
  })
  return { through, mismatches: () => mismatches }
}

/** The store has answered, and with no success. */
class Refused extends Error {
  readonly status: number

  constructor(status: number) {
    super(`the store answered ${status}`)
    this.status = status
  }
}

/** The SDK cannot read a refusal's XML in a Worker, and would speak of that: the status has to say it. */
function toRefusal(error: unknown): never {
  const { $metadata, $response } = error as {
    $metadata?: { httpStatusCode?: number }
    $response?: { statusCode?: number }
  }
  const status = $response?.statusCode ?? $metadata?.httpStatusCode
  throw status === undefined ? error : new Refused(status)
}

/** Undefined where the store said 404; throws what it is given otherwise. */
function absent(error: unknown): undefined {
  if (error instanceof Refused && error.status === 404) return undefined
  throw error
}
