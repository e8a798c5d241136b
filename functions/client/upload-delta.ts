// Brings a delta file to the edge: in one request where it is small, else in parts, so that an upload that broke off goes on
// where it stopped, in this run or in the next. Knows nothing of what the file holds, nor where it lies.
// Invariant: what is published hashes to the digest; the edge refuses anything else, part by part and as a whole.
import * as z from 'zod/mini'
import { type Patience, patiently } from './patiently.ts'
import type { DeltaUpload, PublishHost } from './publish-host.ts'

/** Below it, starting over costs less than asking what has arrived. */
const ONE_REQUEST_BYTES = 16 * 1024 ** 2
/** A name that points nowhere yet points at the version all the same. */
const KEEPS_NAME = '?alias=keep'

export interface FilePart {
  /** Counted from 1. */
  readonly part: number
  readonly start: number
  /** Excluded. */
  readonly end: number
}

export type OnSent = (sentBytes: number) => void

/** What uploading needs of the machine it runs on, beside calls. */
export interface UploadHost extends Pick<PublishHost, 'call' | 'read'>, Patience {
  /** PUTs the whole file to a path of the edge; undefined: everything goes in parts. */
  readonly sendWhole: ((path: string, onSent: OnSent) => Promise<void>) | undefined
  /** `onSent` counts from 0. */
  sendPart(part: FilePart, onSent: OnSent): Promise<void>
  /** What to throw where attempts bring nothing any more: so much had arrived, and waits for the next run. */
  brokeOff(error: unknown, arrivedBytes: number): Error
}

const Parts = z.object({
  part_bytes: z.int().check(z.positive()),
  parts: z.array(z.object({ part: z.int(), bytes: z.int() })),
})

interface Delta extends DeltaUpload {
  readonly digest: string
}

/** Uploads, and publishes without moving a name that is in use. Throws what `host` throws; what had arrived by then is kept for the next attempt. */
export async function uploadDelta(
  host: UploadHost,
  delta: Delta,
  oneRequestBytes: number = ONE_REQUEST_BYTES,
): Promise<void> {
  if (host.sendWhole && delta.bytes <= oneRequestBytes) {
    return host.sendWhole(`${delta.path}${KEEPS_NAME}`, delta.onProgress)
  }
  const path = `${delta.path}/uploads/${delta.digest}`
  const arrived = await host.read(path, Parts)
  const parts = splitFile(delta.bytes, arrived.part_bytes)
  const present = new Map(arrived.parts.map(({ part, bytes }) => [part, bytes]))
  const isPresent = ({ part, start, end }: FilePart) => present.get(part) === end - start
  // Parts of another size are from a time when the edge took others: only all of one size fit together.
  const usable = arrived.parts.every(({ part }) => parts[part - 1] !== undefined && isPresent(parts[part - 1]!))
  if (!usable) await host.call(path, { method: 'DELETE' })
  await sendAll(host, delta, usable ? parts.filter((part) => !isPresent(part)) : parts)
  await host.call(`${path}${KEEPS_NAME}`, { method: 'POST' })
}

function splitFile(bytes: number, partBytes: number): FilePart[] {
  return Array.from({ length: Math.ceil(bytes / partBytes) }, (_, i) => ({
    part: i + 1,
    start: i * partBytes,
    end: Math.min(bytes, (i + 1) * partBytes),
  }))
}

async function sendAll(host: UploadHost, { bytes, onProgress }: Delta, parts: readonly FilePart[]): Promise<void> {
  let done = bytes - parts.reduce((sum, { start, end }) => sum + end - start, 0)
  for (const part of parts) {
    const send = () => host.sendPart(part, (sent) => onProgress(done + sent))
    await patiently(send, host).catch((error: unknown) => {
      throw host.isPassing(error) ? host.brokeOff(error, done) : error
    })
    done += part.end - part.start
    onProgress(done)
  }
}
