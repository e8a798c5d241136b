"""Two tiny random Llamas that the goldens of adapters/formats are computed on, and what every maker shares.

`gqa` has fewer key/value heads than heads (so that mixing them up fails), `mha` has as many (a fused q/k/v has equal parts).
Everything is float32 and seeded; nothing here is trained.
"""
import json
import pathlib

import torch
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM

PROMPT = [3, 17, 41, 9, 60, 22, 5, 33]
SIZES = dict(vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, head_dim=8,
             max_position_embeddings=64, rms_norm_eps=1e-5, rope_theta=10000.0, tie_word_embeddings=False)


def base(name: str) -> LlamaForCausalLM:
    """The tiny base `gqa` or `mha`, in eval mode."""
    torch.manual_seed(7)
    config = LlamaConfig(**SIZES, num_key_value_heads={"gqa": 2, "mha": 4}[name])
    model = LlamaForCausalLM(config).to(torch.float32)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.2) if parameter.dim() > 1 else parameter.uniform_(0.5, 1.5)
    return model.eval().requires_grad_(False)


def randomise(parameters, seed: int) -> None:
    """Values as if trained: every A and B is far from zero, so a wrong factor or row order shows."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in parameters:
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.15)


def logits(model) -> torch.Tensor:
    """[tokens, vocab] for PROMPT."""
    with torch.no_grad():
        return model(torch.tensor([PROMPT])).logits[0].float().contiguous()


class Goldens:
    """Collects the expected logits of one maker and writes them beside the adapters."""

    def __init__(self, out: pathlib.Path, maker: str):
        self.out, self.maker = out, maker
        self.logits: dict[str, torch.Tensor] = {}
        self.cases: dict[str, dict] = {}

    def folder(self, case: str) -> pathlib.Path:
        folder = self.out / case
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def add(self, case: str, base_name: str, value: torch.Tensor, **facts) -> None:
        self.logits[case] = value
        self.cases[case] = {"base": base_name, **facts}

    def write(self) -> None:
        save_file(self.logits, self.out / f"{self.maker}.safetensors")
        (self.out / f"{self.maker}.json").write_text(json.dumps({"prompt": PROMPT, "cases": self.cases}, indent=1) + "\n")
