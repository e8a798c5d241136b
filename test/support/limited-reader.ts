// A thread that reads adapters as publishing does, with a heap so small that a file which asks for too much ends the thread.
import { parentPort, Worker, workerData } from 'node:worker_threads'
import type { BaseModel } from '../../adapters/base-model.ts'
import { AdapterError } from '../../adapters/errors.ts'
import { fileSet, memoryFile } from '../../adapters/file-set.ts'
import { identifyAdapter } from '../../adapters/import-adapter.ts'
import { inferBase } from '../../adapters/infer-base.ts'
import { verifyAdapter } from '../../adapters/verify.ts'

const HEAP_MB = 200

interface Job {
  readonly files: readonly { readonly name: string; readonly bytes: Uint8Array }[]
  /** Absent: the sizes that the tensors show, as `polylora inspect` takes them. */
  readonly base?: BaseModel
}

export type Outcome = { readonly code: string; readonly message: string } | 'read'

/** What becomes of `files` in at most HEAP_MB of heap. Rejects when the thread dies. */
export function readLimited(files: Job['files'], base?: BaseModel): Promise<Outcome> {
  const job: Job = base === undefined ? { files } : { files, base }
  const resourceLimits = { maxOldGenerationSizeMb: HEAP_MB, maxYoungGenerationSizeMb: 32 }
  return new Promise((resolve, reject) => {
    const worker = new Worker(new URL(import.meta.url), { workerData: job, resourceLimits })
    let outcome: Outcome | undefined
    worker.once('message', (said: Outcome) => {
      outcome = said
    })
    worker.once('error', reject)
    // Only then: what a full heap leaves to be cleared away would go on beside the next one.
    worker.once('exit', () => (outcome ? resolve(outcome) : reject(new Error('It ended without a word.'))))
  })
}

async function read({ files, base: given }: Job): Promise<Outcome> {
  try {
    const adapter = await identifyAdapter(fileSet(files.map(({ name, bytes }) => memoryFile(name, bytes))))
    const base = given ?? inferBase(adapter.weights.tensors.values())
    const source = await adapter.read({ base })
    await verifyAdapter(source, base, 'f32', { maxRank: 64, maxBytes: 1e6 })
    return 'read'
  } catch (error) {
    if (error instanceof AdapterError) return { code: error.code, message: error.message }
    throw error
  }
}

if (parentPort !== null && workerData?.files !== undefined) parentPort.postMessage(await read(workerData as Job))
