"""Muon for a model's matrices, in f32: torch's own computes in bfloat16, which processors without such instructions emulate.

Momentum, then the nearest orthogonal matrix by five Newton-Schulz steps (Jordan et al., "Muon", 2024). On a two-core machine
with AVX2 alone a bfloat16 product is a hundred times slower than one in f32.
"""
import torch

QUINTIC = (3.4445, -4.7750, 2.0315)


class Muon(torch.optim.Optimizer):
    """For parameters of two dimensions. Weight decay is decoupled; the rate grows with the root of rows / columns."""

    def __init__(self, params, lr: float, momentum: float = 0.95, weight_decay: float = 0.0):
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                mean = self.state[p].setdefault("mean", torch.zeros_like(p))
                mean.lerp_(p.grad, 1 - group["momentum"])
                update = orthogonal(p.grad.lerp(mean, group["momentum"]))
                p.mul_(1 - group["lr"] * group["weight_decay"])
                p.add_(update, alpha=-group["lr"] * max(1.0, p.shape[0] / p.shape[1]) ** 0.5)


def orthogonal(x: torch.Tensor) -> torch.Tensor:
    """About the orthogonal matrix nearest to x: its singular values end between 0.7 and 1.2."""
    a, b, c = QUINTIC
    tall = x.shape[0] > x.shape[1]
    y = x.T if tall else x
    y = y / y.norm().clamp(min=1e-7)
    for _ in range(5):
        gram = y @ y.T
        y = a * y + (b * gram + c * gram @ gram) @ y
    return y.T if tall else y
