// A tenant's adapters: publishing, versions, names.
import * as z from 'zod/mini'
import { Adapter, AdapterDeleted, AdapterSummary, PublishedVersion, UploadState } from '../routes/adapter-answers.ts'
import { AliasMove, Canary, DirectUpload, Report } from '../routes/adapter-requests.ts'
import { listOf } from '../routes/list-of.ts'
import { binary, get, json, type Operation, post, put, remove } from './operation.ts'

const ADAPTER = '/v1/adapters/{tenant}/{name}'

export const ADAPTERS_OPERATIONS: readonly Operation[] = [
  get('/v1/adapters', null, 'Lists the tenant’s adapters.', {
    answers: { 200: json('A list of adapters.', listOf(AdapterSummary)) },
  }),
  put(
    ADAPTER,
    'adapters',
    'Publishes a version: stores the canonical delta file and moves the name to it, both or neither.',
    {
      query: z.object({ alias: z.optional(z.literal('keep')) }),
      headers: { 'x-polylora-digest': 'sha256: and the file’s hash in hex.', 'content-length': 'The file’s size.' },
      file: 'application/octet-stream',
      answers: {
        201: json('The version.', PublishedVersion),
        409: 'The same bytes are being deleted, or the tenant has too many versions.',
        413: 'Larger than the backends serve.',
        422: 'Not a delta for this base, or another hash.',
      },
    },
  ),
  get(
    `${ADAPTER}/uploads/{digest}`,
    'adapters',
    'Tells which parts of a large delta have arrived, and how large a part may be.',
    { answers: { 200: json('The parts; none where nothing has arrived.', UploadState) } },
  ),
  put(
    `${ADAPTER}/uploads/{digest}`,
    'adapters',
    'Announces parts up to `last_part` that the client puts into the edge’s bucket itself: said before each part and again after, so that the edge erases what nobody completes.',
    {
      body: DirectUpload,
      answers: { 204: 'Noted, for a week.', 409: 'The tenant is being deleted; the parts are erased.' },
    },
  ),
  put(
    `${ADAPTER}/uploads/{digest}/{part}`,
    'adapters',
    'Stores one part of a large delta, counted from 1 and sent in order; a part sent again replaces the one before.',
    {
      headers: { 'x-polylora-digest': 'sha256: and the part’s hash in hex.', 'content-length': 'The part’s size.' },
      file: 'application/octet-stream',
      answers: { 204: 'Stored.', 413: 'Larger than a part may be.', 422: 'It has another hash.' },
    },
  ),
  post(
    `${ADAPTER}/uploads/{digest}`,
    'adapters',
    'Publishes what the parts are together, exactly as one request would, and forgets the parts.',
    {
      query: z.object({ alias: z.optional(z.literal('keep')) }),
      answers: {
        201: json('The version.', PublishedVersion),
        409: 'A part is missing, the same bytes are being deleted, or the tenant has too many versions.',
        413: 'Larger than the backends serve.',
        422: 'Not a delta for this base, or another hash; the parts are forgotten.',
      },
    },
  ),
  remove(`${ADAPTER}/uploads/{digest}`, 'adapters', 'Forgets the parts of an upload.', {
    answers: { 204: 'Forgotten.' },
  }),
  get(ADAPTER, null, 'Shows an adapter with its report, canary and versions.', {
    answers: { 200: json('The adapter.', Adapter), 404: 'No such adapter for this key.' },
  }),
  get(
    `${ADAPTER}/versions/{digest}/delta`,
    'inference',
    'The version’s canonical delta file, where the operator lets it leave; ranges are served.',
    {
      answers: {
        200: binary('The file.'),
        206: binary('A part of it.'),
        403: 'It may not leave.',
        404: 'No such version for this key.',
      },
    },
  ),
  remove(ADAPTER, 'adapters', 'Deletes an adapter with all its versions, here and on the backends.', {
    answers: { 200: json('What was erased.', AdapterDeleted), 404: 'No such adapter for this key.' },
  }),
  put(`${ADAPTER}/versions/{digest}/report`, 'adapters', 'Attaches the publisher’s report to a version.', {
    body: Report,
    answers: { 204: 'Kept.', 404: 'No such version.', 413: 'Larger than 64 KiB.' },
  }),
  put(
    `${ADAPTER}/alias`,
    'adapters',
    'Moves the name to a version that it has; with `from`, only where it still points there.',
    { body: AliasMove, answers: { 200: json('The adapter.', Adapter), 409: 'Somebody else moved it.' } },
  ),
  post(`${ADAPTER}/rollback`, 'adapters', 'Moves the name back to the version before.', {
    answers: { 200: json('The adapter.', Adapter), 409: 'There is no version before.' },
  }),
  put(
    `${ADAPTER}/canary`,
    'adapters',
    'Gives a share of the name’s requests to another version; each end user (`user` or `safety_identifier`) stays on one side.',
    { body: Canary, answers: { 200: json('The adapter.', Adapter), 404: 'No such version.' } },
  ),
  remove(`${ADAPTER}/canary`, 'adapters', 'Ends the canary.', { answers: { 200: json('The adapter.', Adapter) } }),
]
