// What a tenant can ask about itself.
import { LatencyQuery, UsageQuery } from '../registry/usage-query.ts'
import { LatencyRow } from '../registry/usage-rows.ts'
import { BackendHoldings, OwnKey } from '../routes/account-answers.ts'
import { listOf } from '../routes/list-of.ts'
import { get, json, type Operation, rows } from './operation.ts'

export const ACCOUNT_OPERATIONS: readonly Operation[] = [
  get('/v1/key', null, 'Shows this key’s tenant, scopes and expiry, and the tenant’s limits, prices and balance.', {
    answers: { 200: json('The key, without its secret.', OwnKey) },
  }),
  get('/v1/usage', 'usage', 'Sums up what the tenant used, or lists it request by request.', {
    query: UsageQuery,
    answers: { 200: rows('Rows, as JSON, JSON lines or CSV.') },
  }),
  get(
    '/v1/usage/latency',
    'usage',
    'Gives percentiles of the time to the first text and to the end of complete answers.',
    {
      query: LatencyQuery,
      answers: { 200: json('Rows with the 50th, 95th and 99th percentile in milliseconds.', listOf(LatencyRow)) },
    },
  ),
  get(
    '/v1/residency',
    null,
    'Says which of the tenant’s versions the backends hold at this moment: tier, size, last use.',
    { answers: { 200: json('A list of backends, by number.', listOf(BackendHoldings)) } },
  ),
]
