// Chat templates that write tools and their calls as the families of models do, each as small as it can be.

const SYSTEM = (calls: string) =>
  `{% if tools %}<|im_start|>system\nTools: {{ tools | tojson }}<|im_end|>\n{% endif %}{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}${calls}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}`

export const TOOL_TEMPLATES = {
  hermes: SYSTEM(
    '{% for call in message.tool_calls or [] %}<tool_call>\n{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}}\n</tool_call>{% endfor %}',
  ),
  mistral: SYSTEM(
    `{% if message.tool_calls %}{{ '[TOOL_CALLS] [' }}{% for call in message.tool_calls %}{% if call.id | length != 9 %}{{ raise_exception('ids have nine characters') }}{% endif %}{% set out = call.function | tojson %}{{ out[:-1] + ', "id": "' + call.id + '"}' }}{% endfor %}]{% endif %}`,
  ),
  llama: SYSTEM(
    `{% if 'tool_calls' in message %}{% if not message.tool_calls|length == 1 %}{{ raise_exception("This model only supports single tool-calls at once!") }}{% endif %}{% endif %}{% for call in message.tool_calls or [] %}{{ '{"name": "' + call.function.name + '", ' }}{{ '"parameters": ' }}{{ call.function.arguments | tojson }}}{% endfor %}`,
  ),
} as const
