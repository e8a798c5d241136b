// The operations as an OpenAPI 3.1 document. Pure.
import * as z from 'zod/mini'
import { Digest } from '../../gpu-backend/protocol.ts'
import { ErrorAnswer } from '../openai/answer-schemas.ts'
import { Name } from '../registry/names.ts'
import { MAX_PARTS } from '../registry/objects.ts'
import type { Answer, Content, Operation } from './operation.ts'

export interface JsonSchema {
  readonly type?: string | readonly string[]
  readonly properties?: Readonly<Record<string, JsonSchema>>
  readonly required?: readonly string[]
  readonly enum?: readonly unknown[]
  readonly const?: unknown
  readonly anyOf?: readonly JsonSchema[]
  readonly oneOf?: readonly JsonSchema[]
  readonly items?: JsonSchema
  readonly [keyword: string]: unknown
}

/** What a name in braces stands for, where that is not any text. */
const IN_PATH: Readonly<Record<string, z.ZodMiniType>> = {
  tenant: Name,
  name: Name,
  digest: Digest,
  part: z.int().check(z.positive(), z.lte(MAX_PARTS)),
}

export function openApiDocument(operations: readonly Operation[], serverUrl: string) {
  const paths: Record<string, Record<string, object>> = {}
  for (const operation of operations) {
    paths[operation.path] = { ...paths[operation.path], [operation.method]: describeOperation(operation) }
  }
  return {
    openapi: '3.1.0',
    info: {
      title: 'Polylora',
      version: '1',
      description:
        'One personalised model per customer for the price of one shared model. Compatible with OpenAI’s API.',
    },
    servers: [{ url: serverUrl }],
    security: [{ apiKey: [] }],
    paths,
    components: {
      securitySchemes: {
        apiKey: { type: 'http', scheme: 'bearer', description: 'A tenant’s API key.' },
        adminKey: { type: 'http', scheme: 'bearer', description: 'POLYLORA_ADMIN_KEY, the operator’s key.' },
      },
      schemas: { Error: jsonSchema(ErrorAnswer, 'output') },
    },
  }
}

/** A schema as JSON Schema: `input`, as clients may send it; `output`, as it is answered. */
export function jsonSchema(schema: z.ZodMiniType, io: 'input' | 'output'): JsonSchema {
  const { $schema: _, ...rest } = z.toJSONSchema(schema, {
    io,
    unrepresentable: 'any',
    ...(io === 'output' ? { override: asRead } : {}),
  })
  return rest as JsonSchema
}

function describeOperation(operation: Operation): object {
  const { method, path, summary, scope, answers } = operation
  const body = requestBody(operation)
  return {
    operationId: `${method}_${path.replaceAll(/[^a-z0-9]+/gi, '_').replace(/^_|_$/g, '')}`,
    summary,
    ...(scope === 'admin' ? { security: [{ adminKey: [] }] } : {}),
    ...(scope && scope !== 'admin' ? { description: `Needs the scope \`${scope}\`.` } : {}),
    parameters: parametersOf(operation),
    ...(body ? { requestBody: body } : {}),
    responses: {
      ...Object.fromEntries(Object.entries(answers).map(([status, said]) => answer(status, said))),
      default: failure(),
    },
  }
}

function requestBody({ body, file }: Operation): object | undefined {
  if (file) return { required: true, content: { [file]: { schema: contentSchema('file') } } }
  if (!body) return undefined
  const content = { 'application/json': { schema: jsonSchema(body, 'input') } }
  return { required: !body.safeParse(undefined).success, content }
}

function parametersOf({ path, query, headers }: Operation): object[] {
  const inPath = [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) =>
    parameter('path', name!, true, jsonSchema(IN_PATH[name!] ?? z.string(), 'input')),
  )
  const inHeader = Object.entries(headers ?? {}).map(([name, description]) => ({
    ...parameter('header', name, false, { type: 'string' }),
    description,
  }))
  const querySchema = query && jsonSchema(query, 'input')
  const inQuery = Object.entries(querySchema?.properties ?? {}).map(([name, schema]) =>
    parameter('query', name, querySchema?.required?.includes(name) ?? false, schema),
  )
  return [...inPath, ...inQuery, ...inHeader]
}

function parameter(place: 'path' | 'query' | 'header', name: string, required: boolean, schema: object) {
  return { name, in: place, required, schema }
}

function answer(status: string, answer: Answer | string): [string, object] {
  if (typeof answer === 'string') {
    return [status, Number(status) < 400 ? { description: answer } : { ...failure(), description: answer }]
  }
  const content = Object.entries(answer.content).map(([type, held]) => [type, { schema: contentSchema(held) }])
  return [status, { description: answer.text, content: Object.fromEntries(content) }]
}

function contentSchema(content: Content): JsonSchema {
  if (content === 'file') return { type: 'string', format: 'binary' }
  return content === 'text' ? { type: 'string' } : jsonSchema(content, 'output')
}

/** Answers may get more fields with time: who reads them must not refuse what it does not know. */
function asRead({ jsonSchema: schema }: { jsonSchema: { additionalProperties?: unknown } }): void {
  if (schema.additionalProperties === false) delete schema.additionalProperties
}

function failure() {
  const content = { 'application/json': { schema: { $ref: '#/components/schemas/Error' } } }
  return { description: 'A refusal, in OpenAI’s error format.', content }
}
