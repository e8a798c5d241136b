// Publishing from this machine: files on disk, and an edge somewhere. What happens is in functions/client/publish-adapter.ts.
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  type PublishedAdapter,
  type PublishRequest,
  publishAdapter as publish,
} from '../functions/client/publish-adapter.ts'
import type { PublishHost, SpooledDelta } from '../functions/client/publish-host.ts'
import { callEdge, callEdgeJson, type EdgeAddress, tryCallEdgeJson } from './edge-client.ts'
import { passingFolder } from './passing-folder.ts'
import { renderChatTemplate } from './render-chat-template.ts'
import { type UploadSettings, uploadDelta } from './upload.ts'
import { writeDelta } from './write-delta.ts'

/**
 * Publishes an adapter through the edge and returns what was published. Throws AdapterError (the files), CliError (the edge),
 * and UnfinishedPublish for whatever goes wrong after the upload.
 */
export function publishAdapter({
  edge,
  upload,
  ...request
}: PublishRequest & { readonly edge: EdgeAddress; readonly upload?: UploadSettings }): Promise<PublishedAdapter> {
  return publish(nodeHost(edge, upload), request)
}

function nodeHost(edge: EdgeAddress, settings: UploadSettings | undefined): PublishHost {
  return {
    call: (path, init) => callEdge(edge, path, init),
    read: (path, schema) => callEdgeJson(edge, path, schema),
    tryReadAdapter: (path, schema) => tryCallEdgeJson(edge, path, schema),
    spool: (pieces) => spoolToDisk(edge, settings, pieces),
    renderTemplate: renderChatTemplate,
  }
}

async function spoolToDisk(
  edge: EdgeAddress,
  settings: UploadSettings | undefined,
  pieces: AsyncIterable<Uint8Array<ArrayBuffer>>,
): Promise<SpooledDelta> {
  const { path, release } = passingFolder(tmpdir())
  try {
    const file = join(path, 'delta.safetensors')
    const digest = await writeDelta(file, pieces)
    return { digest, release, upload: (upload) => uploadDelta(edge, { ...upload, file, digest }, settings) }
  } catch (error) {
    await release()
    throw error
  }
}
