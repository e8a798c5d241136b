"""Goldens of microsoft/LoRA, from PyPI's loralib: python make_loralib.py --out test/golden/formats"""
import argparse
import json
import pathlib

import loralib
import tiny_base
import torch

LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def linear(old, r, alpha, **kwargs):
    new = loralib.Linear(old.in_features, old.out_features, r=r, lora_alpha=alpha, bias=False, merge_weights=False, **kwargs)
    new.weight.data = old.weight.data.clone()
    return new


class Fused(torch.nn.Module):
    """gate_proj and up_proj, or q/k/v, as one MergedLinear; `part(i)` is what the Llama block calls."""

    def __init__(self, olds, r, alpha, enabled):
        super().__init__()
        out = sum(old.out_features for old in olds)
        self.layer = loralib.MergedLinear(olds[0].in_features, out, r=r, lora_alpha=alpha, enable_lora=enabled, bias=False, merge_weights=False)
        self.layer.weight.data = torch.cat([old.weight.data for old in olds]).clone()

    def part(self, i, n):
        fused = self.layer

        class Part(torch.nn.Module):
            def forward(self, x):
                return fused(x).chunk(n, dim=-1)[i]

        return Part()


def save(folder, state, side=None, wrap=False, legacy=False):
    torch.save({"model_state_dict": state} if wrap else state, folder / "adapter.pt", _use_new_zipfile_serialization=not legacy)
    if side is not None:
        (folder / "lora.json").write_text(json.dumps(side) + "\n")


parser = argparse.ArgumentParser()
parser.add_argument("--out", type=pathlib.Path, required=True)
goldens = tiny_base.Goldens(parser.parse_args().out, "loralib")


def lora_parameters(model):
    return [p for n, p in sorted(model.named_parameters()) if "lora_" in n]


for case, legacy in (("loralib-linear", False), ("loralib-legacy-zipless", True)):
    model = tiny_base.base("gqa")
    for layer in model.model.layers:
        for block in (layer.self_attn, layer.mlp):
            for name in LINEAR:
                if hasattr(block, name):
                    setattr(block, name, linear(getattr(block, name), 4, 32))
    tiny_base.randomise(lora_parameters(model), 20)
    save(goldens.folder(case), loralib.lora_state_dict(model), {"r": 4, "lora_alpha": 32}, legacy=legacy)
    goldens.add(case, "gqa", tiny_base.logits(model.eval()))

model = tiny_base.base("gqa")
old = model.model.embed_tokens
embedding = loralib.Embedding(old.num_embeddings, old.embedding_dim, r=3, lora_alpha=9, merge_weights=False)
embedding.weight.data = old.weight.data.clone()
model.model.embed_tokens = embedding
tiny_base.randomise(lora_parameters(model), 21)
save(goldens.folder("loralib-embedding"), loralib.lora_state_dict(model), {"r": 3, "lora_alpha": 9}, wrap=True)
goldens.add("loralib-embedding", "gqa", tiny_base.logits(model.eval()))

for case, enabled in (("loralib-merged-qkv", [True, False, True]), ("loralib-merged-gate-up", [True, True])):
    model = tiny_base.base("mha")
    state = {}
    for i, layer in enumerate(model.model.layers):
        attention = case == "loralib-merged-qkv"
        block = layer.self_attn if attention else layer.mlp
        names = ["q_proj", "k_proj", "v_proj"] if attention else ["gate_proj", "up_proj"]
        fused = Fused([getattr(block, name) for name in names], 3, 12, enabled)
        tiny_base.randomise([fused.layer.lora_A, fused.layer.lora_B], 30 + i)
        for part, name in enumerate(names):
            setattr(block, name, fused.part(part, len(names)))
        path = f"model.layers.{i}." + ("self_attn.qkv_proj" if attention else "mlp.gate_up_proj")
        state |= {f"{path}.{key}": value for key, value in loralib.lora_state_dict(fused.layer).items()}
    save(goldens.folder(case), state, {"r": 3, "lora_alpha": 12, "enable_lora": enabled})
    goldens.add(case, "mha", tiny_base.logits(model.eval()))
goldens.write()
