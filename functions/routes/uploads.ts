// `/v1/adapters/{tenant}/{name}/uploads/{digest}`: a delta too large for one request arrives in parts, in order, and an upload
// that broke off goes on at the part it had reached. Completing it publishes, exactly as one request would. A client that has
// the bucket's credentials may put the parts there itself, and says so before and after each.
// Invariant: parts are seen by their own tenant alone, and nothing is published but what hashes to the whole digest.
import { type Context, Hono } from 'hono'
import { requireScope } from '../auth/api-key.ts'
import type { EdgeEnv } from '../edge-env.ts'
import { ApiError } from '../errors.ts'
import {
  DigestMismatch,
  MAX_PARTS,
  type ObjectStore,
  PART_BYTES,
  type PartKey,
  type Upload,
} from '../registry/objects.ts'
import { StorageFailed } from '../registry/storage-failure.ts'
import { eraseUpload, noteUpload } from '../registry/uploads.ts'
import type { UploadState } from './adapter-answers.ts'
import { ownAdapter } from './adapter-path.ts'
import { DirectUpload } from './adapter-requests.ts'
import { publishDelta } from './publish-delta.ts'
import { readOwnJson } from './read-own-json.ts'
import { declaredBytes, parseDigest } from './upload-headers.ts'

const MAX_DIRECT_UPLOAD_BYTES = 1024

type UploadContext = Context<EdgeEnv, '/:tenant/:name/:digest'>

export const uploads = new Hono<EdgeEnv>()

uploads
  .get('/:digest', async (c) => {
    const upload = ownUpload(c)
    const parts = await c.var.edge.objects.listParts(upload)
    const data = Array.from(parts, ([part, bytes]) => ({ part, bytes })).sort((x, y) => x.part - y.part)
    return c.json<UploadState>({ object: 'upload', digest: upload.digest, part_bytes: PART_BYTES, parts: data })
  })
  .put('/:digest', async (c) => {
    const upload = ownUpload(c)
    const { last_part: part } = await readOwnJson(c, DirectUpload, MAX_DIRECT_UPLOAD_BYTES)
    await notePart(c, { ...upload, part })
    return c.body(null, 204)
  })
  .put('/:digest/:part', async (c) => {
    const upload = ownUpload(c)
    const part = parsePart(c.req.param('part'))
    const digest = parseDigest(c.req.header('x-polylora-digest'), 'x-polylora-digest')
    const bytes = declaredBytes(c.req.header('content-length'), PART_BYTES, 'part')
    if (bytes === 0 || !c.req.raw.body) throw new ApiError(400, 'empty_body', `Part ${part} is empty: send its bytes.`)
    const key = { ...upload, part }
    await notePart(c, key)
    await c.var.edge.objects.putPart(key, digest, c.req.raw.body, bytes).catch((error: unknown) => {
      if (!(error instanceof DigestMismatch)) throw error
      throw new ApiError(422, 'digest_mismatch', `Part ${part} does not hash to ${digest}: send it again.`)
    })
    await notePart(c, key)
    return c.body(null, 204)
  })
  .post('/:digest', complete)
  .delete('/:digest', async (c) => {
    await eraseUpload(c.env.DB, c.var.edge.objects, ownUpload(c))
    return c.body(null, 204)
  })

async function complete(c: UploadContext): Promise<Response> {
  const upload = ownUpload(c)
  const { objects } = c.var.edge
  const parts = await objects.listParts(upload)
  const missing = firstMissing(parts)
  if (missing !== undefined) {
    throw new ApiError(409, 'upload_incomplete', `Part ${missing} is not there: send it, then complete the upload.`)
  }
  const bytes = [...parts.values()].reduce((sum, size) => sum + size, 0)
  const body = joinParts(objects, upload, parts.size)
  try {
    const answer = await publishDelta(c, ownAdapter(c), { digest: upload.digest, bytes, body })
    c.executionCtx.waitUntil(eraseUpload(c.env.DB, objects, upload))
    return answer
  } catch (error) {
    // Parts that can never become this delta would only make the next attempt fail as well.
    if (error instanceof ApiError && (error.status === 422 || error.status === 413)) {
      await eraseUpload(c.env.DB, objects, upload)
    }
    // Not an answer of ours, and parts gone under our hands: another request for the same upload was faster.
    if (!(error instanceof ApiError) && (await objects.listParts(upload)).size < parts.size) {
      throw new ApiError(
        409,
        'upload_incomplete',
        'Parts of the upload went while it was completed, by another request that completed it or gave it up: see whether the version is there, and upload again where it is not.',
      )
    }
    throw error
  }
}

/** The first part that is not there; undefined where all are, from the first to the last. */
function firstMissing(parts: ReadonlyMap<number, number>): number | undefined {
  if (parts.size === 0) return 1
  for (let part = 1; part <= parts.size; part++) if (!parts.has(part)) return part
  return undefined
}

/** The parts one after another, each opened when the one before is through. */
function joinParts(objects: ObjectStore, upload: Upload, count: number): ReadableStream<Uint8Array> {
  let part = 0
  let reader: ReadableStreamDefaultReader<Uint8Array> | undefined
  const openNext = async () => {
    part++
    const body = await objects.tryOpenPart({ ...upload, part })
    if (!body) throw new Error(`part ${part} of ${upload.digest} vanished`)
    return body.getReader()
  }
  return new ReadableStream<Uint8Array>({
    async pull(controller) {
      while (part < count || reader) {
        reader ??= await openNext()
        const { done, value } = await reader.read().catch((error: unknown) => {
          throw new StorageFailed(String(error))
        })
        if (!done) return controller.enqueue(value)
        reader = undefined
      }
      controller.close()
    },
    async cancel(reason) {
      await reader?.cancel(reason)
    },
  })
}

function ownUpload(c: UploadContext): Upload {
  requireScope(c.var.principal, 'adapters')
  const { tenant } = ownAdapter(c)
  return { tenant, digest: parseDigest(c.req.param('digest'), 'digest') }
}

/** @throws ApiError 409 where the tenant is being deleted; the part is gone then, should it be there already */
async function notePart(c: Context<EdgeEnv>, key: PartKey): Promise<void> {
  if (await noteUpload(c.env.DB, key, Date.now())) return
  await c.var.edge.objects.deleteParts(key, key.part)
  throw new ApiError(
    409,
    'tenant_being_deleted',
    'This tenant is being deleted: nothing can be uploaded for it any more.',
  )
}

function parsePart(value: string): number {
  const part = Number(value)
  if (/^\d{1,5}$/.test(value) && part >= 1 && part <= MAX_PARTS) return part
  throw new ApiError(400, 'invalid_part', `The part must be a number from 1 to ${MAX_PARTS}.`, { param: 'part' })
}
