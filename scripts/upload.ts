// Brings a delta file to the edge: in one request where it is small, else in parts, so that an upload that broke off goes on
// where it stopped, in this run or in the next. Knows nothing of what the file holds.
// Invariant: what is published hashes to the digest; the edge refuses anything else, part by part and as a whole.
import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { pipeline } from 'node:stream/promises'
import { setTimeout as delay } from 'node:timers/promises'
import * as z from 'zod'
import type { DeltaUpload } from '../functions/client/publish-host.ts'
import { CliError } from './cli-error.ts'
import { callEdge, callEdgeJson, type EdgeAddress, uploadToEdge } from './edge-client.ts'

/** Below it, starting over costs less than asking what has arrived. */
const ONE_REQUEST_BYTES = 16 * 1024 ** 2
/** Attempts in a row that bring no part; what has arrived waits for the next run. */
const MAX_FRUITLESS = 5

export interface FileUpload extends DeltaUpload {
  readonly file: string
  readonly digest: string
}

export interface UploadSettings {
  /** Larger files go in parts. */
  readonly oneRequestBytes?: number
  /** Waited before the n-th attempt in a row that brought nothing. */
  readonly retryDelayMs?: (attempt: number) => number
  /** Puts the parts somewhere else than through the edge. */
  readonly sendPart?: SendPart
}

/** Bytes `start` to `end` of the file as part `part`; `onProgress` counts from 0. */
export type SendPart = (upload: FileUpload, part: FilePart, onProgress: (sentBytes: number) => void) => Promise<void>

export interface FilePart {
  /** Counted from 1. */
  readonly part: number
  readonly start: number
  /** Excluded. */
  readonly end: number
}

const Parts = z.looseObject({
  part_bytes: z.int().positive(),
  parts: z.array(z.looseObject({ part: z.int(), bytes: z.int() })),
})

/** Uploads and publishes. Throws CliError; what had arrived by then is kept for the next attempt. */
export async function uploadDelta(edge: EdgeAddress, upload: FileUpload, settings: UploadSettings = {}): Promise<void> {
  const { oneRequestBytes = ONE_REQUEST_BYTES, sendPart } = settings
  const query = upload.moveName ? '' : '?alias=keep'
  if (upload.bytes <= oneRequestBytes && sendPart === undefined) {
    const headers = { 'x-polylora-digest': upload.digest }
    const { file, bytes, onProgress } = upload
    await uploadToEdge(edge, `${upload.path}${query}`, { file, start: 0, end: bytes, headers, onProgress })
    return
  }
  const path = `${upload.path}/uploads/${upload.digest}`
  const arrived = await callEdgeJson(edge, path, Parts)
  const parts = splitFile(upload.bytes, arrived.part_bytes)
  const present = new Map(arrived.parts.map(({ part, bytes }) => [part, bytes]))
  const isPresent = ({ part, start, end }: FilePart) => present.get(part) === end - start
  // Parts of another size are from a time when the edge took others: only all of one size fit together.
  const usable = arrived.parts.every(({ part }) => parts[part - 1] !== undefined && isPresent(parts[part - 1]!))
  if (!usable) await callEdge(edge, path, { method: 'DELETE' })
  await sendAll(edge, upload, usable ? parts.filter((part) => !isPresent(part)) : parts, settings)
  await callEdge(edge, `${path}${query}`, { method: 'POST' })
}

function splitFile(bytes: number, partBytes: number): FilePart[] {
  return Array.from({ length: Math.ceil(bytes / partBytes) }, (_, i) => ({
    part: i + 1,
    start: i * partBytes,
    end: Math.min(bytes, (i + 1) * partBytes),
  }))
}

async function sendAll(
  edge: EdgeAddress,
  upload: FileUpload,
  parts: readonly FilePart[],
  { sendPart = throughEdge(edge), retryDelayMs = (attempt) => 1000 * 2 ** attempt }: UploadSettings,
): Promise<void> {
  let done = upload.bytes - parts.reduce((sum, { start, end }) => sum + end - start, 0)
  for (const part of parts) {
    for (let attempt = 1; ; attempt++) {
      try {
        await sendPart(upload, part, (sent) => upload.onProgress(done + sent))
        break
      } catch (error) {
        // Only what a later attempt can change: the network, or a server that is failing.
        if (!(error instanceof CliError) || error.exitCode !== 3) throw error
        if (attempt === MAX_FRUITLESS) {
          const sentence = `${error.message} ${done} of ${upload.bytes} bytes have arrived; run the command again to go on from there.`
          throw new CliError(sentence, 3)
        }
        await delay(retryDelayMs(attempt))
      }
    }
    done += part.end - part.start
    upload.onProgress(done)
  }
}

function throughEdge(edge: EdgeAddress): SendPart {
  return async ({ file, path, digest }, { part, start, end }, onProgress) => {
    const hash = createHash('sha256')
    await pipeline(createReadStream(file, { start, end: end - 1 }), hash)
    const headers = { 'x-polylora-digest': `sha256:${hash.digest('hex')}` }
    await uploadToEdge(edge, `${path}/uploads/${digest}/${part}`, { file, start, end, headers, onProgress })
  }
}
