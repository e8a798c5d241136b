// What a request's tools mean for its prompt, its grammar and its text. Knows no engine.
// Invariant: a call that the request insists on has a name and arguments that the request allows.
import { BackendError } from '../errors.ts'
import type { ResponseFormat } from '../grammar/grammar.ts'
import { ALONE, type Schema } from '../grammar/schema-keywords.ts'
import { takesOneCall } from '../model/chat-template.ts'
import type { GenerateRequest, SamplingParams, Tool } from '../protocol.ts'
import { ToolCallReader } from './tool-call-reader.ts'
import { type ToolFormat, toolFormatOf } from './tool-format.ts'

export interface ToolUse {
  /** What the prompt is to end with. */
  readonly promptEnd: string
  readonly sampling: SamplingParams
  /** A reader for one choice. */
  reader(): ToolCallReader
}

/**
 * undefined for a request without tools; `template` is what its prompt is made with, `checkFormat` refuses what cannot be kept,
 * and tokens that are `isHidden` stand for no text.
 * @throws BackendError `bad_request` where the template knows no tools, or the answer cannot be held to what is asked
 */
export function toolUse(
  request: GenerateRequest,
  template: string | undefined,
  checkFormat: (format: ResponseFormat) => void,
  isHidden: (token: string) => boolean = () => false,
): ToolUse | undefined {
  const { tools, must_call: names, parallel_tool_calls: parallel, sampling } = request
  if (!tools) return undefined
  const format = template === undefined ? undefined : toolFormatOf(template)
  if (!format) {
    throw refused(
      'The chat template of this model takes no tools that could be understood here: ask without tools, or publish the adapter with the template that it was trained with.',
    )
  }
  const offered = tools.map((tool) => tool.function.name)
  if (!names) {
    // A conversation with more of them would be refused from then on.
    const maxCalls = parallel === false || takesOneCall(template!) ? 1 : undefined
    const reader = () => new ToolCallReader(format, offered, false, maxCalls)
    const held = sampling.response_format
    if (!held || held.type === 'text') return { promptEnd: '', sampling, reader }
    const response_format = orCalls(held, format, offered, maxCalls, isHidden)
    checkFormat(response_format)
    return { promptEnd: '', sampling: { ...sampling, response_format }, reader }
  }
  const called = tools.filter((tool) => names.includes(tool.function.name))
  const response_format: ResponseFormat = { type: 'json_schema', json_schema: { schema: callSchema(called, format) } }
  try {
    checkFormat(response_format)
  } catch (error) {
    if (!(error instanceof BackendError)) throw error
    throw refused(error.message.replace('The response_format schema', "The tools' parameters, as a schema of calls,"))
  }
  return {
    promptEnd: format.callStart,
    sampling: { ...sampling, response_format },
    reader: () => new ToolCallReader(format, offered, true, 1),
  }
}

/** The format of an answer that may be calls of the tools instead, with arguments of any kind. */
function orCalls(
  held: ResponseFormat,
  { open, close, argumentsKey }: ToolFormat,
  names: readonly string[],
  maxCalls: number | undefined,
  isHidden: (token: string) => boolean,
): ResponseFormat {
  if (open === undefined || close === undefined || isHidden(open) || isHidden(close)) {
    throw refused(
      `This model's calls have no marks around them that a grammar can tell from an answer in the response_format: leave out one of "tools" and "response_format", or set "tool_choice" to "none".`,
    )
  }
  const properties = { name: { enum: names }, [argumentsKey]: { type: 'object' } }
  const schema = { type: 'object', properties, required: ['name', argumentsKey], additionalProperties: false }
  return { ...held, instead: { open, close, schema, isRepeated: maxCalls !== 1 } }
}

/** The JSON of one call of one of the tools, as the model writes it. */
function callSchema(tools: readonly Tool[], { argumentsKey }: ToolFormat): Record<string, unknown> {
  const calls = tools.map(({ function: { name, parameters } }, i) => ({
    type: 'object',
    properties: {
      name: { const: name },
      [argumentsKey]: rebase(argumentsSchema(parameters), `#/anyOf/${i}/properties/${argumentsKey}`),
    },
    required: ['name', argumentsKey],
    additionalProperties: false,
  }))
  return { anyOf: calls }
}

/** As OpenAI defines them: a function that says nothing of parameters has none, and arguments are an object's JSON. */
function argumentsSchema(parameters: Schema | undefined): Schema {
  if (!parameters) return { type: 'object', properties: {}, additionalProperties: false }
  // What is said elsewhere says its type there.
  return ALONE.some((keyword) => keyword in parameters) ? parameters : { ...parameters, type: 'object' }
}

/** A schema with its references as they are where it lies at `place` of another one. */
function rebase(value: unknown, place: string): unknown {
  if (Array.isArray(value)) return value.map((item) => rebase(item, place))
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(
    Object.entries(value).map(([key, item]) => [
      key,
      key === '$ref' && typeof item === 'string' ? item.replace(/^#/, place) : rebase(item, place),
    ]),
  )
}

function refused(message: string): BackendError {
  return new BackendError('bad_request', message, { param: 'tools' })
}
