// The operator's API.
import { BrowserModel } from '../../gpu-backend/browser/manifest.ts'
import { TermsChange } from '../metering/terms.ts'
import { Receipt } from '../registry/receipt.ts'
import { AdminLatencyQuery, AdminUsageQuery } from '../registry/usage-query.ts'
import { LatencyRow } from '../registry/usage-rows.ts'
import {
  ApiKey,
  BackendHoldings,
  Credited,
  NewApiKey,
  RotatedKey,
  Tenant,
  TenantWithBalance,
} from '../routes/account-answers.ts'
import { AdapterSummary, MayLeave } from '../routes/adapter-answers.ts'
import { AdapterTerms, Credit, NewKey, NewTenant, Rotation } from '../routes/admin-requests.ts'
import { BrowserModelState, StoredFile } from '../routes/browser-answers.ts'
import { listOf } from '../routes/list-of.ts'
import { get, json, type Operation, patch, post, put, remove, rows } from './operation.ts'

export const ADMIN_OPERATIONS: readonly Operation[] = [
  get('/admin/v1/residency', 'admin', 'Says which versions each backend holds at this moment, everybody’s.', {
    answers: { 200: json('A list of backends, by URL.', listOf(BackendHoldings)) },
  }),
  get('/admin/v1/tenants', 'admin', 'Lists the tenants.', { answers: { 200: json('A list.', listOf(Tenant)) } }),
  post('/admin/v1/tenants', 'admin', 'Creates a tenant under terms.', {
    body: NewTenant,
    answers: { 201: json('The tenant.', Tenant), 409: 'It exists, or was deleted a few seconds ago.' },
  }),
  get('/admin/v1/tenants/{tenant}', 'admin', 'Shows a tenant with its balance.', {
    answers: { 200: json('The tenant.', TenantWithBalance) },
  }),
  patch('/admin/v1/tenants/{tenant}', 'admin', 'Changes limits, billing or prices.', {
    body: TermsChange,
    answers: { 200: json('The tenant.', Tenant) },
  }),
  remove(
    '/admin/v1/tenants/{tenant}',
    'admin',
    'Erases a tenant: keys, adapters, objects, unfinished uploads, backend caches. One that broke off is finished by the sweep, or when it is repeated.',
    { answers: { 200: json('A receipt of what was erased.', Receipt) } },
  ),
  get(
    '/admin/v1/tenants/{tenant}/receipts',
    'admin',
    'Lists the receipts of a tenant that was deleted, the latest first.',
    { answers: { 200: json('A list; empty where no tenant of this name was deleted.', listOf(Receipt)) } },
  ),
  post('/admin/v1/tenants/{tenant}/credits', 'admin', 'Adds to the balance, once for each id.', {
    body: Credit,
    answers: { 200: json('The balance.', Credited), 422: 'Another amount came under this id before.' },
  }),
  get(
    '/admin/v1/tenants/{tenant}/adapters',
    'admin',
    'Lists a tenant’s adapters, with whether their deltas may leave the edge.',
    { answers: { 200: json('A list of adapters.', listOf(AdapterSummary)) } },
  ),
  patch(
    '/admin/v1/tenants/{tenant}/adapters/{name}',
    'admin',
    'Decides whether an adapter’s deltas may leave the edge, for browsers that run them; at first they may not.',
    { body: AdapterTerms, answers: { 200: json('As it is now.', MayLeave), 404: 'No such adapter.' } },
  ),
  get(
    '/admin/v1/browser/model',
    'admin',
    'Shows the base that the backends serve, and what browsers may download of it.',
    { answers: { 200: json('The base, and the manifest or null.', BrowserModelState) } },
  ),
  get(
    '/admin/v1/browser/files/{digest}',
    'admin',
    'Says whether a file of the base model for browsers is stored, named by a manifest or not.',
    { answers: { 200: json('It is.', StoredFile), 404: 'It is not.' } },
  ),
  put('/admin/v1/browser/files/{digest}', 'admin', 'Stores a file of the base model for browsers.', {
    headers: { 'content-length': 'The file’s size.' },
    file: 'application/octet-stream',
    answers: { 201: json('Stored.', StoredFile), 413: 'Too large.', 422: 'It has another hash.' },
  }),
  put(
    '/admin/v1/browser/model',
    'admin',
    'Lets browsers download the base model: the manifest of files that are stored already.',
    {
      body: BrowserModel,
      answers: {
        200: json('The manifest.', BrowserModel),
        422: 'It is for another base than the backends serve, or names a file that is not stored.',
      },
    },
  ),
  remove('/admin/v1/browser/model', 'admin', 'Withdraws the base model from browsers and removes its files.', {
    answers: { 204: 'Withdrawn.', 404: 'There was nothing.' },
  }),
  get('/admin/v1/tenants/{tenant}/keys', 'admin', 'Lists a tenant’s keys by what may be shown of them.', {
    answers: { 200: json('A list.', listOf(ApiKey)) },
  }),
  post('/admin/v1/tenants/{tenant}/keys', 'admin', 'Makes a key; this answer is the only place where it is shown.', {
    body: NewKey,
    answers: { 201: json('The key.', NewApiKey) },
  }),
  post(
    '/admin/v1/tenants/{tenant}/keys/{key}/rotate',
    'admin',
    'Replaces a key by a new one; the old one lives on for the overlap.',
    {
      body: Rotation,
      answers: { 201: json('The new key.', RotatedKey), 409: 'It has expired, or was replaced already.' },
    },
  ),
  remove('/admin/v1/tenants/{tenant}/keys/{key}', 'admin', 'Revokes a key.', { answers: { 204: 'Revoked.' } }),
  get('/admin/v1/usage', 'admin', 'Sums up what everybody used, or one tenant.', {
    query: AdminUsageQuery,
    answers: { 200: rows('Rows, as JSON, JSON lines or CSV.') },
  }),
  get('/admin/v1/usage/latency', 'admin', 'Gives percentiles of everybody’s latencies, or of one tenant’s.', {
    query: AdminLatencyQuery,
    answers: { 200: json('Rows with the 50th, 95th and 99th percentile in milliseconds.', listOf(LatencyRow)) },
  }),
]
