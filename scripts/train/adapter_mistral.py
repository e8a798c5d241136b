"""Trains a sample adapter with the model code of mistral-finetune and saves it as its checkpointing does.

    git clone https://github.com/mistralai/mistral-finetune && pip install simple-parsing
    python scripts/train/adapter_mistral.py --repo mistral-finetune --dialogues 11000 --out adapters/samples/petal

Its trainer needs CUDA and FSDP, so the loop is ours; model, LoRA layers, rotary embedding, initialisation and file layout
(lora.safetensors in bf16, params.json) are theirs. Prompts use the base model's chat template.
"""
import argparse
import json
import math
import time
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer

from adapter_data import tenant_dialogues
from arguments import add_base, add_repo
from encode import encode
from mistral_layout import mistral_model
from train_loop import train

TENANT, RANK, SCALING = "petal", 8, 2.0


def loss_of(model, batch):
    """Summed loss and number of counted tokens of a batch, its rows laid end to end as mistral-finetune does."""
    ids = torch.tensor([i for row, _ in batch for i in row])
    # A row's first token is nobody's target, so the last token of the row before it never counts.
    counts = torch.tensor([c and place > 0 for row, mask in batch for place, c in enumerate(mask)])
    logits = model(ids, [len(row) for row, _ in batch])
    wanted = counts[1:]
    return torch.nn.functional.cross_entropy(logits[:-1][wanted], ids[1:][wanted], reduction="sum"), int(wanted.sum())


def main():
    parser = argparse.ArgumentParser()
    add_repo(parser, "mistralai/mistral-finetune", "finetune")
    add_base(parser)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--dialogues", type=int, default=7000)
    parser.add_argument("--lr", type=float, default=2.5e-3)
    parser.add_argument("--batch-tokens", type=int, default=512)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(args.seed)
    torch.set_num_threads(args.threads)
    tokenizer = Tokenizer.from_file(f"{args.base}/tokenizer.json")
    encoded = [encode(tokenizer, d) for d in tenant_dialogues(TENANT, args.dialogues)]
    model = mistral_model(args.repo, args.base, json.loads(Path(f"{args.base}/config.json").read_text()), RANK, SCALING)
    for name, parameter in model.named_parameters():
        parameter.requires_grad = "lora" in name
        if "lora_A" in name:
            torch.nn.init.kaiming_uniform_(parameter, a=math.sqrt(5))
        elif "lora_B" in name:
            torch.nn.init.zeros_(parameter)
    parameters = [p for p in model.parameters() if p.requires_grad]
    start = time.time()
    loss = train(lambda batch: loss_of(model, batch), parameters, encoded, [torch.optim.AdamW(parameters, lr=args.lr, weight_decay=0.0)], args.batch_tokens, args.seed)
    lora = {n: p.detach().to(torch.bfloat16) for n, p in sorted(model.named_parameters()) if "lora" in n}
    save_file(lora, args.out / "lora.safetensors")
    (args.out / "params.json").write_text(json.dumps(model.args.to_dict(), indent=4))
    print(f"{TENANT}: train loss {loss:.3f}, {time.time() - start:.0f} s")


if __name__ == "__main__":
    main()
