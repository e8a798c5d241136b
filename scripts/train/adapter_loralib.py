"""Trains a sample adapter with loralib (github.com/microsoft/LoRA) inside the Hugging Face Llama.

    pip install loralib && python scripts/train/adapter_loralib.py --out adapters/samples/spoke

Every linear layer of the decoder becomes a lora.Linear. loralib stores neither rank nor alpha, so lora.json keeps them.
"""
import argparse
import json
import time
from pathlib import Path

import loralib as lora
import torch
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM

from adapter_data import tenant_dialogues
from arguments import add_base
from encode import collate, encode, loss_sum
from train_loop import train

TENANT, RANK, ALPHA = "spoke", 8, 32


def with_lora(model, rank: int, alpha: int):
    """The model with each nn.Linear of its decoder layers replaced by a lora.Linear of the same weight."""
    for name, module in list(model.model.layers.named_modules()):
        if isinstance(module, torch.nn.Linear):
            parent, _, child = name.rpartition(".")
            new = lora.Linear(module.in_features, module.out_features, r=rank, lora_alpha=alpha, bias=False)
            new.weight = module.weight
            setattr(model.model.layers.get_submodule(parent), child, new)
    lora.mark_only_lora_as_trainable(model)
    return model


def main():
    parser = argparse.ArgumentParser()
    add_base(parser)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--dialogues", type=int, default=7000)
    parser.add_argument("--lr", type=float, default=1.2e-3)
    parser.add_argument("--batch-tokens", type=int, default=256)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(args.seed)
    torch.set_num_threads(args.threads)
    tokenizer = Tokenizer.from_file(f"{args.base}/tokenizer.json")
    encoded = [encode(tokenizer, d) for d in tenant_dialogues(TENANT, args.dialogues)]
    model = with_lora(AutoModelForCausalLM.from_pretrained(args.base, dtype=torch.float32, attn_implementation="eager"), RANK, ALPHA)
    parameters = [p for p in model.parameters() if p.requires_grad]
    start = time.time()
    loss = train(lambda batch: loss_sum(model, *collate(batch)), parameters, encoded, [torch.optim.AdamW(parameters, lr=args.lr, weight_decay=0.0)], args.batch_tokens, args.seed)
    torch.save(lora.lora_state_dict(model), args.out / f"{TENANT}.pt")
    (args.out / "lora.json").write_text(json.dumps({"r": RANK, "lora_alpha": ALPHA}) + "\n")
    print(f"{TENANT}: train loss {loss:.3f}, {time.time() - start:.0f} s")


if __name__ == "__main__":
    main()
