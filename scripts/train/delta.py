"""Reads the five sample adapters back into the Hugging Face Llama, for checking them.

This is a second reading of the formats, made with plain arithmetic: y = xW' with W' = W + s B A. Knows nothing of training.
Invariant: `load_delta` gives Hugging Face module names and row order, and the scale is folded into B.
"""
import json
from pathlib import Path

import torch
from safetensors.torch import load_file

MISTRAL = {"attention.wq": "self_attn.q_proj", "attention.wk": "self_attn.k_proj", "attention.wv": "self_attn.v_proj", "attention.wo": "self_attn.o_proj", "feed_forward.w1": "mlp.gate_proj", "feed_forward.w2": "mlp.down_proj", "feed_forward.w3": "mlp.up_proj"}


def half_split(b, heads: int):
    """Rows of B from Mistral's interleaved rotary order to Hugging Face's. b: [heads * d, r]."""
    rows, rank = b.shape
    return b.view(heads, rows // heads // 2, 2, rank).transpose(1, 2).reshape(rows, rank)


def load_delta(folder: Path, config: dict) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Module path -> (A [r, in], scaled B [out, r]), float32, of a sample adapter's folder."""
    files = {f.name for f in folder.iterdir()}
    if "params.json" in files:
        raw = load_file(folder / "lora.safetensors")
        scale = json.loads((folder / "params.json").read_text())["lora"]["scaling"]
        names = {k: f"model.layers.{k.split('.')[1]}.{MISTRAL['.'.join(k.split('.')[2:4])]}" for k in raw}
    elif "lora.json" in files:
        raw = torch.load(next(folder.glob("*.pt")))
        side = json.loads((folder / "lora.json").read_text())
        scale = side["lora_alpha"] / side["r"]
        names = {k: k.rpartition(".lora_")[0] for k in raw}
    else:
        raw = load_file(folder / "adapter_model.safetensors") if "adapter_model.safetensors" in files else torch.load(folder / "adapter_model.bin")
        side = json.loads((folder / "adapter_config.json").read_text())
        scale = side["lora_alpha"] / (side["r"] ** 0.5 if side.get("use_rslora") else side["r"])
        names = {k: k.removeprefix("base_model.model.").rpartition(".lora_")[0] for k in raw}
    pairs: dict[str, dict[str, torch.Tensor]] = {}
    for key, tensor in raw.items():
        pairs.setdefault(names[key], {})["A" if "lora_A" in key else "B"] = tensor.float()
    out = {}
    for name, pair in pairs.items():
        b = pair["B"]
        if "params.json" in files and name.endswith(("q_proj", "k_proj")):
            b = half_split(b, config["num_attention_heads" if name.endswith("q_proj") else "num_key_value_heads"])
        out[name] = (pair["A"], b * scale)
    return out


def merge(model, delta):
    """Adds every delta to the model's weights, in place."""
    with torch.no_grad():
        for name, (a, b) in delta.items():
            model.get_submodule(name).weight += b @ a
    return model
