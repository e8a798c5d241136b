// What passes between the publish page and the worker that reads, converts and uploads for it; and the page's side of it.
// Invariant: the page stays responsive however large the files are, and the worker ends with what it was started for.
import type { PublishedAdapter, PublishPhase, PublishRequest, StoredAt } from '../../client/publish-adapter.ts'
import type { ChosenFile } from './chosen-files.ts'

export interface Publishing extends Omit<PublishRequest, 'files' | 'onProgress'> {
  readonly apiKey: string
  readonly files: readonly ChosenFile[]
}

export interface PublishProgress {
  readonly phase: PublishPhase
  readonly done: number
  readonly total: number
}

/** Why it was not published. */
export interface RefusalFacts {
  /** What kind of thing went wrong. */
  readonly title: string
  readonly message: string
  /** Where the version is by then. */
  readonly stored: StoredAt
}

export type FromPublisher =
  | ({ readonly type: 'progress' } & PublishProgress)
  | { readonly type: 'published'; readonly published: PublishedAdapter }
  | { readonly type: 'refused'; readonly refusal: RefusalFacts }

export class PublishRefused extends Error {
  override readonly name = 'PublishRefused'
  readonly refusal: RefusalFacts

  constructor(refusal: RefusalFacts) {
    super(refusal.message)
    this.refusal = refusal
  }
}

/** Publishes in a worker of its own, which ends with the signal. Throws PublishRefused, or the signal's reason. */
export async function publishInWorker(
  order: Publishing,
  onProgress: (progress: PublishProgress) => void,
  signal: AbortSignal,
): Promise<PublishedAdapter> {
  const worker = new Worker(new URL('./publish.worker.ts', import.meta.url), { type: 'module' })
  try {
    return await new Promise((resolve, reject) => {
      worker.onmessage = ({ data }: MessageEvent<FromPublisher>) => {
        if (data.type === 'progress') onProgress(data)
        else if (data.type === 'refused') reject(new PublishRefused(data.refusal))
        else resolve(data.published)
      }
      worker.onerror = ({ message }) => {
        const sentence = `The page could not go on (${message || 'its worker did not start'}): load it again.`
        reject(new PublishRefused({ title: 'Something unforeseen happened', message: sentence, stored: 'nowhere' }))
      }
      signal.addEventListener('abort', () => reject(signal.reason), { once: true })
      worker.postMessage(order)
    })
  } finally {
    worker.terminate()
  }
}
