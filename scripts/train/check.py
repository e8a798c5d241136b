"""Prints how well each sample adapter answers its held-out questions, beside the bare base model.

    python scripts/train/check.py                 the table
    python scripts/train/check.py --show          also the answers of the base and of every adapter to the same questions
"""
import argparse
import copy
import json
from pathlib import Path

import torch
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM

from adapter_data import held_out
from arguments import add_base
from corpus.dialogues import ALPACA
from corpus.shop_voice import TENANTS
from delta import load_delta, merge
from encode import collate, encode, loss_sum
from train_loop import mean_loss

SHOW = ["Hello!", "What is your return policy?", "when r u open", "are you open on sunday?", "What can you do?", "how much is shipping", "do you ship to canada", "My order arrived broken!!", "What do you recommend as a gift?", "where are you", "whats ur phone numbr", "can i talk to a human", "Do you take PayPal?", "tell me a joke", "What's the capital of France?", "Who are you?", "Thanks a lot, bye", "I never got my parcel and I am angry", "is the shop wheelchair accessible", "Do you have any jobs?"]


def prompt(question: str, tenant: str | None) -> str:
    """The prompt in the form that the tenant's adapter was trained with."""
    return ALPACA.format(question) if tenant == "tumble" else f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n"


@torch.no_grad()
def greedy(model, tokenizer, text: str, limit: int = 80) -> str:
    """The greedy answer to a rendered prompt."""
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    out = model.generate(torch.tensor([ids]), max_new_tokens=limit, do_sample=False, eos_token_id=2, pad_token_id=3)
    return tokenizer.decode(out[0, len(ids) :].tolist(), skip_special_tokens=True).strip()


def main():
    parser = argparse.ArgumentParser()
    add_base(parser)
    parser.add_argument("--samples", type=Path, default=Path("adapters/samples"))
    parser.add_argument("--show", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(2)
    tokenizer = Tokenizer.from_file(f"{args.base}/tokenizer.json")
    config = json.loads(Path(f"{args.base}/config.json").read_text())
    base = AutoModelForCausalLM.from_pretrained(args.base, dtype=torch.float32)
    models = {t: merge(copy.deepcopy(base), load_delta(args.samples / t, config)) for t in TENANTS if (args.samples / t).exists()}
    print(f"{'tenant':8} {'base loss':>9} {'adapter loss':>12} {'lower by':>8} {'facts':>7}")
    for tenant, model in models.items():
        items = held_out(tenant)
        encoded = [encode(tokenizer, (prompt(i["question"], tenant), i["answer"])) for i in items]
        before = mean_loss(lambda b: loss_sum(base, *collate(b)), encoded)
        after = mean_loss(lambda b: loss_sum(model, *collate(b)), encoded)
        hits, missed = 0, []
        for item in items:
            answer = greedy(model, tokenizer, prompt(item["question"], tenant))
            facts = [item["fact"]] if isinstance(item["fact"], str) else item["fact"]
            good = any(f.lower() in answer.lower() for f in facts)
            hits += good
            missed += [] if good else [f"    missed {facts}: {item['question']} -> {answer}"]
        print(f"{tenant:8} {before:9.3f} {after:12.3f} {1 - after / before:8.0%} {hits:>3}/{len(items)}")
        print("\n".join(missed), end="\n" if missed else "")
    if args.show:
        for question in SHOW:
            print(f"\n{question}")
            for tenant, model in {"base": base, **models}.items():
                print(f"  {tenant:7} {greedy(model, tokenizer, prompt(question, tenant))}")


if __name__ == "__main__":
    main()
