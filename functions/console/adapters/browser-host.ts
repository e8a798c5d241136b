// What publishing needs of a browser: files in memory that the browser may put on disk, uploads that tell how far they are,
// and a worker of bounded time for a stranger's template.
import { digestOf } from '../../../adapters/digest.ts'
import { type TemplateInput, UnrenderableTemplate } from '../../client/check-chat-template.ts'
import type { DeltaUpload, PublishHost } from '../../client/publish-host.ts'
import { AdapterSummary, listOf } from '../api/answers.ts'
import { callEdge, readEdge, refusalOf, unreachable } from '../api/edge.ts'
import type { Rendered } from './render-template.worker.ts'

const MAX_RENDER_MS = 10_000

/** Its calls throw EdgeError. */
export function browserHost(apiKey: string): PublishHost {
  return {
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
      const digest = await digestOf(new Uint8Array(await file.arrayBuffer()))
      return {
        digest,
        upload: (options) => upload(apiKey, file, digest, options),
        release: async () => undefined,
      }
    },
  }
}

/** By XMLHttpRequest: `fetch` does not tell how much has been sent. */
function upload(
  apiKey: string,
  file: Blob,
  digest: string,
  { path, moveName, onProgress }: DeltaUpload,
): Promise<void> {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest()
    request.open('PUT', moveName ? path : `${path}?alias=keep`)
    request.setRequestHeader('authorization', `Bearer ${apiKey}`)
    request.setRequestHeader('content-type', 'application/octet-stream')
    request.setRequestHeader('x-polylora-digest', digest)
    request.upload.onprogress = ({ loaded }) => onProgress(loaded)
    request.onload = () => {
      if (request.status >= 200 && request.status < 300) resolve()
      else reject(refusalOf(request.status, request.responseText))
    }
    request.onerror = () => reject(unreachable())
    request.send(file)
  })
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
