// Tools as OpenAI's clients send them, and what the backend is told of them.
import * as z from 'zod/mini'
import { type GenerateRequest, MAX_TOOLS, shallow, Tool, ToolCall } from '../../gpu-backend/protocol.ts'
import { ApiError } from '../errors.ts'

const { shape: calledShape } = ToolCall.shape.function
/** A call as clients send it back: what SDKs add for themselves (`index`, `parsed_arguments`) is left out. */
const ReturnedToolCall = z.object({
  ...ToolCall.shape,
  // Some models' calls without arguments have no JSON at all, and a conversation may go on here.
  function: z.object({ ...calledShape, arguments: z.union([z.literal(''), calledShape.arguments]) }),
})
export const returnedCallsField = z.nullish(z.array(ReturnedToolCall).check(z.maxLength(MAX_TOOLS)))

export function toToolCall({
  function: { name, arguments: given },
  ...call
}: z.infer<typeof ReturnedToolCall>): ToolCall {
  return { ...call, function: { name, arguments: given || '{}' } }
}

const { name, description, parameters } = Tool.shape.function.shape
/** A tool as clients send it: null is absent, and what they say of it beside its function is left out. */
const OfferedTool = z.object({
  ...Tool.shape,
  function: z
    .looseObject({ name, description: z.nullish(description), parameters: z.nullish(parameters) })
    .check(shallow),
})

export const toolFields = {
  tools: z.nullish(z.array(OfferedTool).check(z.maxLength(MAX_TOOLS))),
  tool_choice: z.nullish(
    z.union(
      [
        z.enum(['none', 'auto', 'required']),
        z.object({ type: z.literal('function'), function: z.object({ name: z.string() }) }),
      ],
      "must be 'none', 'auto', 'required' or a function's name in an object",
    ),
  ),
  parallel_tool_calls: z.nullish(z.boolean()),
}

const ToolFields = z.object(toolFields)
type ToolFields = z.infer<typeof ToolFields> & {
  readonly response_format?: { readonly type: string } | null | undefined
}

/** @throws ApiError 400 where `tool_choice` has nothing to choose from */
export function toTools({
  tools: offered,
  tool_choice: choice,
  parallel_tool_calls: parallel,
  response_format: format,
}: ToolFields): Pick<GenerateRequest, 'tools' | 'must_call' | 'parallel_tool_calls'> {
  const tools = (offered ?? []).map(toTool)
  const names = tools.map((tool) => tool.function.name)
  const wanted = typeof choice === 'object' ? choice?.function.name : undefined
  if (wanted !== undefined && !names.includes(wanted)) {
    throw new ApiError(400, 'invalid_value', `'tool_choice' names '${wanted}', which is not among 'tools'.`, {
      param: 'tool_choice',
    })
  }
  if (choice === 'required' && names.length === 0) {
    throw new ApiError(400, 'invalid_value', "'tool_choice' is 'required', which needs 'tools'.", {
      param: 'tool_choice',
    })
  }
  if (names.length === 0 || choice === 'none') return {}
  const called = wanted === undefined ? names : [wanted]
  if (wanted === undefined && choice !== 'required') {
    return { tools, ...(parallel === false ? { parallel_tool_calls: false } : {}) }
  }
  if (format && format.type !== 'text') {
    throw new ApiError(400, 'invalid_value', "'response_format' cannot be kept where 'tool_choice' wants a call.", {
      param: 'tool_choice',
    })
  }
  return { tools, must_call: called }
}

function toTool({ type, function: described }: z.infer<typeof OfferedTool>): Tool {
  const said = Object.entries(described).filter(([, value]) => value !== null)
  return { type, function: { name: described.name, ...Object.fromEntries(said) } }
}
