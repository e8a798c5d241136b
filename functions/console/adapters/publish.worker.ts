// Publishes one adapter away from the page: files in, news of how far it is, and what came of it.
import * as z from 'zod/mini'
import english from 'zod/v4/locales/en.js'
import { AdapterError, type AdapterErrorCode } from '../../../adapters/errors.ts'
import { ProbeFailure } from '../../client/probe.ts'
import { publishAdapter, UnfinishedPublish } from '../../client/publish-adapter.ts'
import { EdgeError } from '../api/edge.ts'
import { browserHost } from './browser-host.ts'
import { toFileSet } from './chosen-files.ts'
import type { FromPublisher, Publishing, RefusalFacts } from './publishing.ts'

// As main.tsx says; and refusals quote the schemas' own words.
z.config({ ...english(), jitless: true })

const TITLES: Record<AdapterErrorCode, string> = {
  malformed: 'The files are damaged',
  unsupported: 'This kind of adapter cannot be served',
  missing: 'Something is missing',
  mismatch: 'It was made for another base model',
  ineffective: 'It would change nothing',
  too_large: 'It is larger than what can be served',
}

class InsecurePage extends Error {
  constructor() {
    super('Browsers compute digests on secure pages only: open this page over HTTPS, or publish with the command line.')
  }
}

addEventListener('message', ({ data }: MessageEvent<Publishing>) => void publish(data))

async function publish({ apiKey, files, ...request }: Publishing): Promise<void> {
  try {
    if (!isSecureContext) throw new InsecurePage()
    const published = await publishAdapter(browserHost(apiKey), {
      ...request,
      files: toFileSet(files),
      onProgress: (phase, done, total) => tell({ type: 'progress', phase, done, total }),
    })
    tell({ type: 'published', published })
  } catch (error) {
    tell({ type: 'refused', refusal: refusalOf(error) })
  }
}

function tell(news: FromPublisher): void {
  postMessage(news)
}

function refusalOf(error: unknown): RefusalFacts {
  const message = error instanceof Error ? error.message : String(error)
  if (error instanceof UnfinishedPublish) return { title: titleOf(error.cause), message, stored: error.stored }
  return { title: titleOf(error), message, stored: 'nowhere' }
}

function titleOf(error: unknown): string {
  if (error instanceof AdapterError) return TITLES[error.code]
  if (error instanceof InsecurePage) return 'This page came over plain HTTP'
  if (error instanceof ProbeFailure) return 'It did not pass the test on the backend'
  if (!(error instanceof EdgeError)) return 'Something unforeseen happened'
  // Somebody else did, while this version was tested.
  if (error.code === 'alias_moved') return 'The name was moved meanwhile'
  return error.status === 0 ? 'The connection broke off' : 'The edge refused it'
}
