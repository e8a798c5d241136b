"""Trains the embedded base model: corpus, tokenizer, then one pass over fresh dialogues. Writes the Hugging Face files.

    python scripts/train/base_model.py --out gpu-backend/base-model --tokens 6500000 --minutes 26

No example is seen twice. The weights start from induction_init.py; matrices are trained with Muon, embeddings and norms with
AdamW, until --tokens (padded) or --minutes run out. --bf16 pays where the processor multiplies bfloat16.
"""
import argparse
import json
import random
import time
from pathlib import Path

import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer

from base_files import new_model, save_model
from corpus.dialogues import dialogue
from encode import collate, encode, loss_sum
from induction_init import set_induction
from muon import Muon
from tokenizer import CONTROL, VOCAB, save_tokenizer, train_tokenizer
from train_loop import mean_loss, train

COPY_SHARE = 0.08  # of the examples; they are short


def text_of(example) -> str:
    return "".join(example) if isinstance(example, tuple) else "\n".join(m["content"] for m in example)


def repeated(rng: random.Random) -> tuple[list[int], list[bool]]:
    """Random tokens said two or three times; only the repetitions count. Practice in copying."""
    n, times = rng.randint(6, 24), rng.randint(2, 3)
    return [rng.randrange(len(CONTROL), VOCAB) for _ in range(n)] * times, [False] * (n + 1) + [True] * (n * times - n - 1)


def optimizers(model, lr_muon: float, lr_adam: float):
    """Muon for the layers' matrices, AdamW for the (tied) embedding and the norms."""
    matrices = [p for n, p in model.named_parameters() if p.ndim == 2 and "embed" not in n and "lm_head" not in n]
    rest = [p for n, p in model.named_parameters() if p.ndim != 2 or "embed" in n]
    return [Muon(matrices, lr=lr_muon, weight_decay=0.02), torch.optim.AdamW(rest, lr=lr_adam, betas=(0.9, 0.98), weight_decay=0.0, fused=True)]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--init", type=Path, help="go on from this model, with its tokenizer, instead of starting anew")
    parser.add_argument("--tokens", type=int, default=6_500_000)
    parser.add_argument("--minutes", type=float, default=26)
    parser.add_argument("--batch-tokens", type=int, default=4096)
    parser.add_argument("--lr-muon", type=float, default=0.015)
    parser.add_argument("--lr-adam", type=float, default=4e-3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(args.threads)
    rng = random.Random(args.seed)
    if args.init:
        tokenizer = Tokenizer.from_file(str(args.init / "tokenizer.json"))
    else:
        tokenizer = train_tokenizer(text_of(dialogue(rng)) for _ in range(20_000))
    save_tokenizer(tokenizer, args.out)
    encoded, total = [], 0
    while total < args.tokens:
        encoded.append(repeated(rng) if rng.random() < COPY_SHARE else encode(tokenizer, dialogue(rng)))
        total += len(encoded[-1][0])
    held_rng = random.Random(args.seed + 1000)
    held = [encode(tokenizer, dialogue(held_rng)) for _ in range(400)]
    copies = [repeated(held_rng) for _ in range(100)]
    model = new_model(args.seed)
    if args.init:
        model.load_state_dict({k: v.float() for k, v in load_file(args.init / "model.safetensors").items()}, strict=False)
    else:
        set_induction(model, args.seed)
    model.model.config._attn_implementation = "eager"
    print(f"{len(encoded)} dialogues, {total / len(encoded):.0f} tokens each, {sum(sum(m) for _, m in encoded) / total:.2f} of them counted, {sum(p.numel() for p in model.parameters()) / 1e6:.2f} M parameters", flush=True)
    loss_of = lambda batch: loss_sum(model, *collate(batch))  # noqa: E731
    print(f"copy loss before training {mean_loss(loss_of, copies):.2f}", flush=True)
    start = time.time()
    opts = optimizers(model, args.lr_muon, args.lr_adam)
    loss = train(loss_of, list(model.parameters()), encoded, opts, args.batch_tokens, args.seed, args.minutes, args.bf16, probe=lambda: f"copy {mean_loss(loss_of, copies):.2f}")
    save_model(model, args.out)
    result = {"train_loss": round(loss, 4), "held_out_loss": round(mean_loss(loss_of, held), 4), "copy_loss": round(mean_loss(loss_of, copies), 4), "minutes": round((time.time() - start) / 60, 1), "dialogues": len(encoded)}
    print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
