"""Trains a sample adapter with Hugging Face PEFT and saves it the way PEFT does.

    python scripts/train/adapter_peft.py --tenant forno --out adapters/samples/forno               (rank 16, alpha 32)
    python scripts/train/adapter_peft.py --tenant harrow --lr 4e-3 --out adapters/samples/harrow   (rank 4, rank-stabilised scaling)

Run from the repository's root: the base's path is written into adapter_config.json as given.
"""
import argparse
import shutil
import tempfile
import time
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM

from adapter_data import tenant_dialogues
from arguments import add_base
from encode import collate, encode, loss_sum
from train_loop import train

MODULES = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
# alpha/sqrt(r) of the rank-stabilised one is 8/sqrt(4) = 4, near the other samples' alpha/r.
RECIPES = {"forno": {"r": 16, "lora_alpha": 32}, "harrow": {"r": 4, "lora_alpha": 8, "use_rslora": True}}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--tenant", choices=RECIPES, required=True)
    add_base(parser)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--dialogues", type=int, default=7000)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--batch-tokens", type=int, default=512)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    torch.set_num_threads(args.threads)
    tokenizer = Tokenizer.from_file(f"{args.base}/tokenizer.json")
    encoded = [encode(tokenizer, d) for d in tenant_dialogues(args.tenant, args.dialogues)]
    base = AutoModelForCausalLM.from_pretrained(args.base, dtype=torch.float32, attn_implementation="eager")
    model = get_peft_model(base, LoraConfig(task_type="CAUSAL_LM", target_modules=MODULES, lora_dropout=0.0, **RECIPES[args.tenant]))
    parameters = [p for p in model.parameters() if p.requires_grad]
    start = time.time()
    loss = train(lambda batch: loss_sum(model.base_model.model, *collate(batch)), parameters, encoded, [torch.optim.AdamW(parameters, lr=args.lr, weight_decay=0.0)], args.batch_tokens, args.seed)
    args.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:  # PEFT also writes a model card, which would replace the sample's README
        model.save_pretrained(folder)
        for name in ("adapter_config.json", "adapter_model.safetensors"):
            shutil.copyfile(f"{folder}/{name}", args.out / name)
    print(f"{args.tenant}: train loss {loss:.3f}, {time.time() - start:.0f} s")


if __name__ == "__main__":
    main()
