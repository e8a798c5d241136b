// What publishing needs of a browser: files in memory that the browser may put on disk, uploads that tell how far they are,
// and a worker of bounded time for a stranger's template.
import { digestOf } from '../../../adapters/digest.ts'
import { type TemplateInput, UnrenderableTemplate } from '../../client/check-chat-template.ts'
import type { DeltaUpload, PublishHost } from '../../client/publish-host.ts'
import { type OnSent, uploadDelta } from '../../client/upload-delta.ts'
import { AdapterSummary } from '../../routes/adapter-answers.ts'
import { listOf } from '../../routes/list-of.ts'
import { callEdge, EdgeError, readEdge, refusalOf, unreachable } from '../api/edge.ts'
import type { Rendered } from './render-template.worker.ts'

const MAX_RENDER_MS = 10_000
const FIRST_PAUSE_MS = 1_000

/** Its calls throw EdgeError. */
export function browserHost(apiKey: string): PublishHost {
  const host: PublishHost = {
    call: (path, init) => callEdge(apiKey, path, init),
    read: (path, schema) => readEdge(apiKey, path, schema),
    async tryReadAdapter(path, schema) {
      // Asked for by its own path, an adapter that is not there would be an error in the browser's console.
      const { data } = await readEdge(apiKey, '/v1/adapters', listOf(AdapterSummary))
      return data.some(({ id }) => path === `/v1/adapters/${id}`) ? readEdge(apiKey, path, schema) : undefined
    },
    renderTemplate,
    async spool(pieces) {
      const parts: Uint8Array<ArrayBuffer>[] = []
      for await (const piece of pieces) parts.push(piece)
      const file = new Blob(parts)
      const digest = await blobDigest(file)
      return {
        digest,
        upload: (delta) => uploadBlob(host, apiKey, file, { ...delta, digest }),
        release: async () => undefined,
      }
    },
  }
  return host
}

function uploadBlob(
  { call, read }: PublishHost,
  apiKey: string,
  file: Blob,
  delta: DeltaUpload & { readonly digest: string },
): Promise<void> {
  return uploadDelta(
    {
      call,
      read,
      sendWhole: (path, onSent) => put(apiKey, path, file, delta.digest, onSent),
      async sendPart({ part, start, end }, onSent) {
        const piece = file.slice(start, end)
        await put(apiKey, `${delta.path}/uploads/${delta.digest}/${part}`, piece, await blobDigest(piece), onSent)
      },
      isPassing: (error) => error instanceof EdgeError && (error.status === 0 || error.status >= 500),
      pause: (attempt) => new Promise((resolve) => setTimeout(resolve, FIRST_PAUSE_MS * 2 ** attempt)),
      brokeOff: (error, arrived) =>
        new EdgeError(
          0,
          'upload_broke_off',
          `${(error as Error).message} ${arrived} of ${file.size} bytes have arrived; publish the same files again to go on from there.`,
        ),
    },
    delta,
  )
}

/** By XMLHttpRequest: `fetch` does not tell how much has been sent. */
function put(apiKey: string, path: string, file: Blob, digest: string, onSent: OnSent): Promise<void> {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest()
    request.open('PUT', path)
    request.setRequestHeader('authorization', `Bearer ${apiKey}`)
    request.setRequestHeader('content-type', 'application/octet-stream')
    request.setRequestHeader('x-polylora-digest', digest)
    request.upload.onprogress = ({ loaded }) => onSent(loaded)
    request.onload = () => {
      if (request.status >= 200 && request.status < 300) resolve()
      else reject(refusalOf(request.status, request.responseText))
    }
    request.onerror = () => reject(unreachable())
    request.send(file)
  })
}

async function blobDigest(file: Blob): Promise<string> {
  return digestOf(new Uint8Array(await file.arrayBuffer()))
}

async function renderTemplate(template: string, input: TemplateInput): Promise<string> {
  const worker = new Worker(new URL('./render-template.worker.ts', import.meta.url), { type: 'module' })
  try {
    return await new Promise<string>((resolve, reject) => {
      const refuse = (reason: string) => reject(new UnrenderableTemplate(reason))
      setTimeout(() => refuse('it takes too much time or memory'), MAX_RENDER_MS)
      worker.onerror = () => refuse('it takes too much time or memory')
      worker.onmessage = ({ data }: MessageEvent<Rendered>) =>
        'text' in data ? resolve(data.text) : refuse(data.error)
      worker.postMessage({ template, input })
    })
  } finally {
    worker.terminate()
  }
}
