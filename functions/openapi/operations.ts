// The API as a table: every operation with the schema that its route parses with. The OpenAPI document and the
// reference page are written from it, so neither can say anything else than the code does.
import * as z from 'zod/mini'
import { BrowserModel } from '../../gpu-backend/browser/manifest.ts'
import { ChatCompletionRequest } from '../openai/chat-request.ts'
import { CompletionRequest } from '../openai/completion-request.ts'
import { EmbeddingRequest } from '../openai/embedding-request.ts'
import { LatencyQuery, UsageQuery } from '../registry/usage-query.ts'
import { AliasMove, Canary, Report } from '../routes/adapter-requests.ts'
import { AdapterTerms, Credit, NewKey, NewTenant, Rotation, TermsChange } from '../routes/admin-requests.ts'

export interface Operation {
  readonly method: 'get' | 'post' | 'put' | 'patch' | 'delete'
  /** With parameters in braces. */
  readonly path: string
  readonly summary: string
  /** The scope that the key needs; `admin`: the operator's key; null: any key. */
  readonly scope: 'inference' | 'adapters' | 'usage' | 'admin' | null
  /** JSON body. */
  readonly body?: z.ZodMiniType
  /** Query parameters. */
  readonly query?: z.ZodMiniObject
  /** Request headers that matter: name -> what it holds. */
  readonly headers?: Readonly<Record<string, string>>
  /** The body is a file of this content type. */
  readonly file?: string
  readonly answers: Readonly<Record<string, string>>
}

const IDEMPOTENCY = {
  'Idempotency-Key': 'The same key with the same request is answered and charged once, for 24 hours.',
}
const ANSWER = 'The answer, in OpenAI’s format; server-sent events where `stream` is true.'
const REFUSALS = {
  404: 'No such model for this key.',
  429: 'A limit is reached, or the balance is.',
  503: 'No backend.',
}
const ADAPTER = '/v1/adapters/{tenant}/{name}'

export const OPERATIONS: readonly Operation[] = [
  {
    method: 'post',
    path: '/v1/chat/completions',
    summary: 'Answers a conversation with the base model or one of the tenant’s adapters.',
    scope: 'inference',
    body: ChatCompletionRequest,
    headers: IDEMPOTENCY,
    answers: { 200: ANSWER, ...REFUSALS },
  },
  {
    method: 'post',
    path: '/v1/completions',
    summary: 'Continues a bare prompt; no chat template is applied.',
    scope: 'inference',
    body: CompletionRequest,
    headers: IDEMPOTENCY,
    answers: { 200: ANSWER, ...REFUSALS },
  },
  {
    method: 'post',
    path: '/v1/embeddings',
    summary: 'Turns texts into vectors: the mean of the last hidden states, of length 1.',
    scope: 'inference',
    body: EmbeddingRequest,
    headers: IDEMPOTENCY,
    answers: { 200: 'One vector for each input.', ...REFUSALS },
  },
  {
    method: 'get',
    path: '/v1/models',
    summary: 'Lists what this key may use: the base model and the tenant’s adapters.',
    scope: null,
    answers: { 200: 'A list of models.' },
  },
  {
    method: 'get',
    path: '/v1/base',
    summary: 'Describes the base model that an adapter must be made for.',
    scope: null,
    answers: { 200: 'Its fingerprint, sizes, and the backend’s limits.' },
  },
  {
    method: 'get',
    path: '/v1/key',
    summary: 'Shows this key’s tenant, scopes and expiry, and the tenant’s limits, prices and balance.',
    scope: null,
    answers: { 200: 'The key, without its secret.' },
  },
  {
    method: 'get',
    path: '/v1/browser/model',
    summary: 'The base model as browsers run it: its files, by digest.',
    scope: 'inference',
    answers: { 200: 'The manifest.', 404: 'The operator has published none.' },
  },
  {
    method: 'get',
    path: '/v1/browser/files/{digest}',
    summary: 'One of the manifest’s files; ranges are served.',
    scope: 'inference',
    answers: { 200: 'The file.', 206: 'A part of it.', 404: 'The manifest has no such file.' },
  },
  {
    method: 'get',
    path: '/v1/adapters',
    summary: 'Lists the tenant’s adapters.',
    scope: null,
    answers: { 200: 'A list of adapters.' },
  },
  {
    method: 'put',
    path: ADAPTER,
    summary: 'Publishes a version: stores the canonical delta file and moves the name to it, both or neither.',
    scope: 'adapters',
    file: 'application/octet-stream',
    query: z.object({ alias: z.optional(z.literal('keep')) }),
    headers: { 'x-polylora-digest': 'sha256: and the file’s hash in hex.', 'content-length': 'The file’s size.' },
    answers: {
      201: 'The version.',
      413: 'Larger than the backends serve.',
      422: 'Not a delta for this base, or another hash.',
    },
  },
  {
    method: 'get',
    path: `${ADAPTER}/uploads/{digest}`,
    summary: 'Tells which parts of a large delta have arrived, and how large a part may be.',
    scope: 'adapters',
    answers: { 200: 'The parts; none where nothing has arrived.' },
  },
  {
    method: 'put',
    path: `${ADAPTER}/uploads/{digest}/{part}`,
    summary:
      'Stores one part of a large delta, counted from 1 and sent in order; a part sent again replaces the one before.',
    scope: 'adapters',
    file: 'application/octet-stream',
    headers: { 'x-polylora-digest': 'sha256: and the part’s hash in hex.', 'content-length': 'The part’s size.' },
    answers: { 204: 'Stored.', 413: 'Larger than a part may be.', 422: 'It has another hash.' },
  },
  {
    method: 'post',
    path: `${ADAPTER}/uploads/{digest}`,
    summary: 'Publishes what the parts are together, exactly as one request would, and forgets the parts.',
    scope: 'adapters',
    query: z.object({ alias: z.optional(z.literal('keep')) }),
    answers: {
      201: 'The version.',
      409: 'A part is missing.',
      413: 'Larger than the backends serve.',
      422: 'Not a delta for this base, or another hash; the parts are forgotten.',
    },
  },
  {
    method: 'delete',
    path: `${ADAPTER}/uploads/{digest}`,
    summary: 'Forgets the parts of an upload.',
    scope: 'adapters',
    answers: { 204: 'Forgotten.' },
  },
  {
    method: 'get',
    path: ADAPTER,
    summary: 'Shows an adapter with its report, canary and versions.',
    scope: null,
    answers: { 200: 'The adapter.', 404: 'No such adapter for this key.' },
  },
  {
    method: 'get',
    path: `${ADAPTER}/versions/{digest}/delta`,
    summary: 'The version’s canonical delta file, where the operator lets it leave; ranges are served.',
    scope: 'inference',
    answers: { 200: 'The file.', 206: 'A part of it.', 403: 'It may not leave.', 404: 'No such version for this key.' },
  },
  {
    method: 'delete',
    path: ADAPTER,
    summary: 'Deletes an adapter with all its versions, here and on the backends.',
    scope: 'adapters',
    answers: { 200: 'What was erased.', 404: 'No such adapter for this key.' },
  },
  {
    method: 'put',
    path: `${ADAPTER}/versions/{digest}/report`,
    summary: 'Attaches the publisher’s report to a version.',
    scope: 'adapters',
    body: Report,
    answers: { 204: 'Kept.', 404: 'No such version.' },
  },
  {
    method: 'put',
    path: `${ADAPTER}/alias`,
    summary: 'Moves the name to a version that it has; with `from`, only where it still points there.',
    scope: 'adapters',
    body: AliasMove,
    answers: { 200: 'The adapter.', 409: 'Somebody else moved it.' },
  },
  {
    method: 'post',
    path: `${ADAPTER}/rollback`,
    summary: 'Moves the name back to the version before.',
    scope: 'adapters',
    answers: { 200: 'The adapter.', 409: 'There is no version before.' },
  },
  {
    method: 'put',
    path: `${ADAPTER}/canary`,
    summary: 'Gives a share of the name’s requests to another version; each `user` stays on one side.',
    scope: 'adapters',
    body: Canary,
    answers: { 200: 'The adapter.', 404: 'No such version.' },
  },
  {
    method: 'delete',
    path: `${ADAPTER}/canary`,
    summary: 'Ends the canary.',
    scope: 'adapters',
    answers: { 200: 'The adapter.' },
  },
  {
    method: 'get',
    path: '/v1/usage',
    summary: 'Sums up what the tenant used, or lists it request by request.',
    scope: 'usage',
    query: UsageQuery,
    answers: { 200: 'Rows, as JSON, JSON lines or CSV.' },
  },
  {
    method: 'get',
    path: '/v1/usage/latency',
    summary: 'Gives percentiles of the time to the first text and to the end of complete answers.',
    scope: 'usage',
    query: LatencyQuery,
    answers: { 200: 'Rows with the 50th, 95th and 99th percentile in milliseconds.' },
  },
  {
    method: 'get',
    path: '/v1/residency',
    summary: 'Says which of the tenant’s versions the backends hold at this moment: tier, size, last use.',
    scope: null,
    answers: { 200: 'A list of backends, by number.' },
  },
  {
    method: 'get',
    path: '/admin/v1/residency',
    summary: 'Says which versions each backend holds at this moment, everybody’s.',
    scope: 'admin',
    answers: { 200: 'A list of backends, by URL.' },
  },
  {
    method: 'get',
    path: '/admin/v1/tenants',
    summary: 'Lists the tenants.',
    scope: 'admin',
    answers: { 200: 'A list.' },
  },
  {
    method: 'post',
    path: '/admin/v1/tenants',
    summary: 'Creates a tenant under terms.',
    scope: 'admin',
    body: NewTenant,
    answers: { 201: 'The tenant.', 409: 'It exists.' },
  },
  {
    method: 'get',
    path: '/admin/v1/tenants/{tenant}',
    summary: 'Shows a tenant with its balance.',
    scope: 'admin',
    answers: { 200: 'The tenant.' },
  },
  {
    method: 'patch',
    path: '/admin/v1/tenants/{tenant}',
    summary: 'Changes limits, billing or prices.',
    scope: 'admin',
    body: TermsChange,
    answers: { 200: 'The tenant.' },
  },
  {
    method: 'delete',
    path: '/admin/v1/tenants/{tenant}',
    summary:
      'Erases a tenant: keys, adapters, objects, unfinished uploads, backend caches. One that broke off is finished by the sweep, or when it is repeated.',
    scope: 'admin',
    answers: { 200: 'A receipt of what was erased.' },
  },
  {
    method: 'get',
    path: '/admin/v1/tenants/{tenant}/receipts',
    summary: 'Lists the receipts of a tenant that was deleted, the latest first.',
    scope: 'admin',
    answers: { 200: 'A list; empty where no tenant of this name was deleted.' },
  },
  {
    method: 'post',
    path: '/admin/v1/tenants/{tenant}/credits',
    summary: 'Adds to the balance, once for each id.',
    scope: 'admin',
    body: Credit,
    answers: { 200: 'The balance.' },
  },
  {
    method: 'get',
    path: '/admin/v1/tenants/{tenant}/adapters',
    summary: 'Lists a tenant’s adapters, with whether their deltas may leave the edge.',
    scope: 'admin',
    answers: { 200: 'A list of adapters.' },
  },
  {
    method: 'patch',
    path: '/admin/v1/tenants/{tenant}/adapters/{name}',
    summary:
      'Decides whether an adapter’s deltas may leave the edge, for browsers that run them; at first they may not.',
    scope: 'admin',
    body: AdapterTerms,
    answers: { 200: 'As it is now.', 404: 'No such adapter.' },
  },
  {
    method: 'get',
    path: '/admin/v1/browser/model',
    summary: 'Shows the base that the backends serve, and what browsers may download of it.',
    scope: 'admin',
    answers: { 200: 'The base, and the manifest or null.' },
  },
  {
    method: 'put',
    path: '/admin/v1/browser/files/{digest}',
    summary: 'Stores a file of the base model for browsers.',
    scope: 'admin',
    file: 'application/octet-stream',
    headers: { 'content-length': 'The file’s size.' },
    answers: { 201: 'Stored.', 413: 'Too large.', 422: 'It has another hash.' },
  },
  {
    method: 'put',
    path: '/admin/v1/browser/model',
    summary: 'Lets browsers download the base model: the manifest of files that are stored already.',
    scope: 'admin',
    body: BrowserModel,
    answers: { 200: 'The manifest.', 422: 'It is for another base than the backends serve.' },
  },
  {
    method: 'delete',
    path: '/admin/v1/browser/model',
    summary: 'Withdraws the base model from browsers and removes its files.',
    scope: 'admin',
    answers: { 204: 'Withdrawn.', 404: 'There was nothing.' },
  },
  {
    method: 'get',
    path: '/admin/v1/tenants/{tenant}/keys',
    summary: 'Lists a tenant’s keys by what may be shown of them.',
    scope: 'admin',
    answers: { 200: 'A list.' },
  },
  {
    method: 'post',
    path: '/admin/v1/tenants/{tenant}/keys',
    summary: 'Makes a key; this answer is the only place where it is shown.',
    scope: 'admin',
    body: NewKey,
    answers: { 201: 'The key.' },
  },
  {
    method: 'post',
    path: '/admin/v1/tenants/{tenant}/keys/{key}/rotate',
    summary: 'Replaces a key by a new one; the old one lives on for the overlap.',
    scope: 'admin',
    body: Rotation,
    answers: { 201: 'The new key.' },
  },
  {
    method: 'delete',
    path: '/admin/v1/tenants/{tenant}/keys/{key}',
    summary: 'Revokes a key.',
    scope: 'admin',
    answers: { 204: 'Revoked.' },
  },
  {
    method: 'get',
    path: '/admin/v1/usage',
    summary: 'Sums up what everybody used, or one tenant.',
    scope: 'admin',
    query: z.object({ tenant: z.optional(z.string()), ...UsageQuery.shape }),
    answers: { 200: 'Rows, as JSON, JSON lines or CSV.' },
  },
  {
    method: 'get',
    path: '/admin/v1/usage/latency',
    summary: 'Gives percentiles of everybody’s latencies, or of one tenant’s.',
    scope: 'admin',
    query: z.object({ tenant: z.optional(z.string()), ...LatencyQuery.shape }),
    answers: { 200: 'Rows with the 50th, 95th and 99th percentile in milliseconds.' },
  },
]
