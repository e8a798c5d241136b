"""Three tiny random Llamas that the goldens of adapters/formats are computed on, and what every maker shares.

`gqa` has fewer key/value heads than heads (so that mixing them up fails), `mha` has as many (a fused q/k/v has equal parts),
`tied` uses its embeddings as its head.
Everything is float32 and seeded; nothing here is trained.
"""
import json
import pathlib

import torch
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM

PROMPT = [3, 17, 41, 9, 60, 22, 5, 33]
SIZES = dict(vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, head_dim=8,
             max_position_embeddings=64, rms_norm_eps=1e-5, rope_theta=10000.0)


def base(name: str, saved: pathlib.Path | None = None) -> LlamaForCausalLM:
    """The tiny base `gqa`, `mha` or `tied`, in eval mode; from its file in `saved` where old libraries draw other random numbers."""
    torch.manual_seed(7)
    config = LlamaConfig(**SIZES, num_key_value_heads=4 if name == "mha" else 2, tie_word_embeddings=name == "tied")
    model = LlamaForCausalLM(config).to(torch.float32)
    if saved is not None:
        model.load_state_dict(load_file(saved / f"base-{name}" / "model.safetensors"), strict=False)
        return model.eval().requires_grad_(False)
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
