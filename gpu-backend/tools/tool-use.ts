// What a request's tools mean for its prompt, its grammar and its text. Knows no engine.
// Invariant: a call that the request insists on has a name and arguments that the request allows.
import { BackendError } from '../errors.ts'
import type { ResponseFormat } from '../grammar/grammar.ts'
import { ALONE, type Schema } from '../grammar/schema-keywords.ts'
import type { GenerateRequest, SamplingParams, Tool } from '../protocol.ts'
import { ToolCallReader } from './tool-call-reader.ts'
import { type ToolFormat, toolFormatOf } from './tool-format.ts'

export interface ToolUse {
  /** What the prompt is to end with. */
  readonly promptEnd: string
  readonly sampling: SamplingParams
  /** A reader for one choice; none where the answer can be no call. */
  reader(): ToolCallReader | undefined
}

/**
 * undefined for a request without tools; `template` is what its prompt is made with, `checkFormat` refuses what cannot be kept.
 * @throws BackendError `bad_request` where the template knows no tools, or a schema cannot be held to
 */
export function toolUse(
  request: GenerateRequest,
  template: string | undefined,
  checkFormat: (format: ResponseFormat) => void,
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
    const maxCalls = parallel === false ? 1 : undefined
    // What is held to a format is the answer, even where it looks like a call.
    const isHeld = (sampling.response_format?.type ?? 'text') !== 'text'
    return {
      promptEnd: '',
      sampling,
      reader: () => (isHeld ? undefined : new ToolCallReader(format, offered, false, maxCalls)),
    }
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
