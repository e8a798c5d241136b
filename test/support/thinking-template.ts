/** A chat template with what Qwen3's has: a switch that ends the thinking before it begins, and earlier thoughts apart from the answers. */
export const THINKING_TEMPLATE = [
  '{% for message in messages %}{{ "<|im_start|>" + message.role + "\\n" }}',
  '{% if message.reasoning_content is defined and message.reasoning_content is not none %}',
  '{{ "<think>" + message.reasoning_content + "</think>" }}{% endif %}',
  '{{ message.content + "<|im_end|>\\n" }}{% endfor %}',
  '{% if add_generation_prompt %}{{ "<|im_start|>assistant\\n" }}',
  '{% if enable_thinking is defined and enable_thinking is false %}{{ "<think>\\n\\n</think>\\n\\n" }}{% endif %}{% endif %}',
].join('')
