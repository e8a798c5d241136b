// Holds what the edge answers against the table that its OpenAPI document is written from.
import { expect } from 'vitest'
import { ErrorAnswer } from '../../functions/openai/answer-schemas.ts'
import { OPERATIONS } from '../../functions/openapi/operations.ts'

const JSON_TYPE = 'application/json'
/** Of the API that the document describes. */
const DESCRIBED = /^\/(v1|admin\/v1)\//

/** `response` is what the document says of this request, no field more or less; bodies that are not JSON are left alone. */
export async function expectDocumented(method: string, path: string, response: Response): Promise<void> {
  const type = response.headers.get('content-type')?.split(';')[0]
  if (!DESCRIBED.test(path) || type !== JSON_TYPE) return
  const body: unknown = await response.clone().json()
  if (response.ok) expectContent(method, path, response.status, type, body)
  else expect(ErrorAnswer.parse(body)).toEqual(body)
}

/** `value` is one that the answer of this content type holds. */
export function expectContent(method: string, path: string, status: number, type: string, value: unknown): void {
  const answer = OPERATIONS.find(
    (operation) => operation.method === method.toLowerCase() && matches(operation.path, path),
  )?.answers[status]
  const content = typeof answer === 'object' ? answer.content[type] : undefined
  if (content === undefined || typeof content === 'string') {
    throw new Error(`the document has no ${type} for ${status} of ${method} ${path}`)
  }
  // What the schema does not know falls away in parsing.
  expect(content.parse(value), `${method} ${path}`).toEqual(value)
}

function matches(template: string, path: string): boolean {
  // A model's id has a slash.
  const pattern = template.replace('{model}', '.+').replaceAll(/\{\w+\}/g, '[^/]+')
  return new RegExp(`^${pattern}$`).test(path)
}
