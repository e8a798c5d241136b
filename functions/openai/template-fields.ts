// What a request says to the chat template, as vLLM's, SGLang's and llama.cpp's clients say it: any variable of the template by
// its name, and OpenAI's own word for how long the model is to think. Which of them a template reads is the template's.
import * as z from 'zod/mini'
import { type GenerateRequest, TemplateKwargs } from '../../gpu-backend/protocol.ts'

export const templateFields = {
  chat_template_kwargs: z.nullish(TemplateKwargs),
  /** OpenAI's, and vLLM's `max`. */
  reasoning_effort: z.nullish(z.enum(['none', 'minimal', 'low', 'medium', 'high', 'xhigh', 'max'])),
}

const TemplateFields = z.object(templateFields)

/** As vLLM puts them together: an effort is also whether to think at all, unless that is said by itself. */
export function toTemplateKwargs({
  chat_template_kwargs: given,
  reasoning_effort: effort,
}: z.infer<typeof TemplateFields>): Pick<GenerateRequest, 'chat_template_kwargs'> {
  const kwargs = effort ? { enable_thinking: effort !== 'none', ...given, reasoning_effort: effort } : given
  return kwargs ? { chat_template_kwargs: kwargs } : {}
}
