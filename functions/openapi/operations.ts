// The API as a table: every operation with the schemas that its route parses its requests with and answers by. The OpenAPI
// document and the reference page are written from it, so neither can say anything else than the code does.
import { ACCOUNT_OPERATIONS } from './account-operations.ts'
import { ADAPTERS_OPERATIONS } from './adapters-operations.ts'
import { ADMIN_OPERATIONS } from './admin-operations.ts'
import { INFERENCE_OPERATIONS } from './inference-operations.ts'
import type { Operation } from './operation.ts'

export const OPERATIONS: readonly Operation[] = [
  ...INFERENCE_OPERATIONS,
  ...ADAPTERS_OPERATIONS,
  ...ACCOUNT_OPERATIONS,
  ...ADMIN_OPERATIONS,
]
