// A delta file on this machine's disk on its way to the edge. In which requests it goes is in functions/client/upload-delta.ts.
import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { pipeline } from 'node:stream/promises'
import type { DeltaUpload } from '../functions/client/publish-host.ts'
import { type FilePart, type OnSent, type UploadHost, uploadDelta as upload } from '../functions/client/upload-delta.ts'
import { backoffMs } from './backoff.ts'
import { CliError } from './cli-error.ts'
import { callEdge, callEdgeJson, type EdgeAddress, uploadToEdge } from './edge-client.ts'
import { edgePatience } from './edge-patience.ts'

export interface FileUpload extends DeltaUpload {
  readonly file: string
  readonly digest: string
}

export interface UploadSettings {
  /** Larger files go in parts. */
  readonly oneRequestBytes?: number
  /** Waited before the n-th attempt in a row that brought nothing. */
  readonly retryDelayMs?: (attempt: number) => number
  /** Puts the parts into the edge's bucket itself; the edge is told of each before and after, so that it erases them. */
  readonly sendPart?: SendPart
}

/** One part of the file; `onSent` counts from 0. */
export type SendPart = (upload: FileUpload, part: FilePart, onSent: OnSent) => Promise<void>

/** Uploads and publishes. Throws CliError; what had arrived by then is kept for the next attempt. */
export function uploadDelta(edge: EdgeAddress, delta: FileUpload, settings: UploadSettings = {}): Promise<void> {
  const { oneRequestBytes, retryDelayMs = backoffMs, sendPart } = settings
  const { file, bytes, digest } = delta
  const sendWhole = async (path: string, onProgress: OnSent) => {
    const headers = { 'x-polylora-digest': digest }
    await uploadToEdge(edge, path, { file, start: 0, end: bytes, headers, onProgress })
  }
  const send = sendPart ? announced(edge, sendPart) : throughEdge(edge)
  const host: UploadHost = {
    call: (path, init) => callEdge(edge, path, init),
    read: (path, schema) => callEdgeJson(edge, path, schema),
    sendWhole: sendPart ? undefined : sendWhole,
    sendPart: (part, onSent) => send(delta, part, onSent),
    ...edgePatience(retryDelayMs),
    brokeOff: (error, arrived) =>
      new CliError(
        `${(error as Error).message} ${arrived} of ${bytes} bytes have arrived; run the command again to go on from there.`,
        3,
      ),
  }
  return upload(host, delta, oneRequestBytes)
}

function announced(edge: EdgeAddress, sendPart: SendPart): SendPart {
  return async (delta, part, onSent) => {
    const body = JSON.stringify({ last_part: part.part })
    const announce = () => callEdge(edge, `${delta.path}/uploads/${delta.digest}`, { method: 'PUT', body })
    await announce()
    await sendPart(delta, part, onSent)
    // It may have been erased on its way, by another publisher of the same, or a deletion.
    await announce()
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
