"""One pass of gradient descent over encoded examples, for the base model and for adapters alike.

Knows nothing of what is trained: `loss_of` gives (summed loss, counted tokens) of a batch, the optimizers own the parameters.
The learning rate warms up for 30 steps and then follows a cosine over the share used of the tokens or of the minutes,
whichever runs out first, so a run on a busy machine still ends on time.
"""
import math
import time

import torch

from encode import batches


def train(loss_of, parameters, encoded, opts, batch_tokens: int, seed: int, minutes: float = 60, bf16: bool = False, probe=lambda: "") -> float:
    """One pass over `encoded`; returns the mean loss of the last tenth of the steps, nats a counted token."""
    todo = batches(encoded, batch_tokens, seed)
    all_tokens = sum(len(b) * max(len(r[0]) for r in b) for b in todo)
    start, done, recent = time.time(), 0, []
    peak = [o.param_groups[0]["lr"] for o in opts]
    for step, batch in enumerate(todo):
        used = max(done / all_tokens, (time.time() - start) / (minutes * 60))
        if used >= 1:
            break
        scale = min(1, (step + 1) / 30) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * used)))
        for opt, lr in zip(opts, peak):
            opt.param_groups[0]["lr"] = lr * scale
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss, n = loss_of(batch)
        (loss / n).backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        for opt in opts:
            opt.step()
            opt.zero_grad()
        done += len(batch) * max(len(r[0]) for r in batch)
        recent.append((loss.item(), n))
        if step % 20 == 0 or step == len(todo) - 1:
            spent = time.time() - start
            near = recent[-20:]
            print(f"step {step}/{len(todo)} loss {sum(a for a, _ in near) / sum(b for _, b in near):.3f} {done / spent:.0f} tokens/s {spent / 60:.1f} min, {spent * (1 / max(used, 1e-3) - 1) / 60:.1f} min left {probe() if step % 100 == 0 else ''}", flush=True)
    last = recent[-max(1, len(recent) // 10) :]
    return sum(a for a, _ in last) / sum(b for _, b in last)


def mean_loss(loss_of, encoded) -> float:
    """Mean loss, nats a counted token, without training."""
    total = count = 0
    with torch.no_grad():
        for batch in batches(encoded, 4096, 0):
            loss, n = loss_of(batch)
            total, count = total + loss.item(), count + n
    return total / count
