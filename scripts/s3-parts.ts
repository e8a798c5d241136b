// Puts the parts of an upload straight into the bucket that the edge reads, for who has its credentials: any S3-compatible
// storage, as AWS's own variables and profiles name it (AWS_ACCESS_KEY_ID, AWS_PROFILE, AWS_ENDPOINT_URL_S3, AWS_REGION, ...).
// Knows no delta. Invariant: nothing is published by it; the edge hashes what it finds before a name moves.
import { createReadStream } from 'node:fs'
import http from 'node:http'
import https from 'node:https'
import { S3Client, S3ServiceException } from '@aws-sdk/client-s3'
import { Upload } from '@aws-sdk/lib-storage'
import { partKey } from '../functions/registry/objects.ts'
import { Digest } from '../gpu-backend/protocol.ts'
import { CliError } from './cli-error.ts'
import type { SendPart } from './upload.ts'

/** Of one part, several at once; S3 takes none below 5 MiB but the last. */
const CHUNK_BYTES = 8 * 1024 ** 2
const CONNECT_MS = 10_000
/** How long a connection may stand still. */
const SILENCE_MS = 300_000

/** `s3://bucket` as a place for `tenant`'s parts. Throws CliError (exit code 2) for anything else. */
export function s3Parts(location: string, tenant: string, silenceMs = SILENCE_MS): SendPart {
  const Bucket = /^s3:\/\/([\w.-]+)\/?$/.exec(location)?.[1]
  if (Bucket === undefined) throw new CliError(`--via ${location} is not of the form s3://bucket.`, 2)
  const client = new S3Client({
    region: process.env.AWS_REGION ?? process.env.AWS_DEFAULT_REGION ?? 'auto',
    // A bucket in the host's name needs DNS of its own, which many compatible stores lack; older ones refuse new checksums.
    forcePathStyle: true,
    requestChecksumCalculation: 'WHEN_REQUIRED',
    responseChecksumValidation: 'WHEN_REQUIRED',
    // By itself it would pass a proxy by, and wait for ever.
    requestHandler: {
      httpAgent: http.globalAgent,
      httpsAgent: https.globalAgent,
      connectionTimeout: CONNECT_MS,
      socketTimeout: silenceMs,
    },
  })
  return async ({ file, digest }, { part, start, end }, onProgress) => {
    const Key = partKey({ tenant, digest: Digest.parse(digest), part })
    const Body = createReadStream(file, { start, end: end - 1 })
    const upload = new Upload({ client, params: { Bucket, Key, Body }, partSize: CHUNK_BYTES })
    upload.on('httpUploadProgress', ({ loaded }) => onProgress(loaded ?? 0))
    try {
      await upload.done()
    } catch (error) {
      throw failure(error, Bucket)
    } finally {
      Body.destroy()
    }
  }
}

/** Exit code 3 for what another attempt may change. */
function failure(error: unknown, bucket: string): CliError {
  const name = error instanceof Error ? error.name : String(error)
  const status = error instanceof S3ServiceException ? (error.$metadata.httpStatusCode ?? 0) : 0
  if (status >= 400 && status < 500) {
    return new CliError(
      `s3://${bucket} refused the upload (${name}); check the bucket and the credentials' permissions.`,
    )
  }
  if (name === 'CredentialsProviderError') {
    return new CliError(
      'There are no AWS credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE.',
      2,
    )
  }
  return new CliError(`s3://${bucket} cannot be reached (${name}); check AWS_ENDPOINT_URL_S3 and AWS_REGION.`, 3)
}
