"""The base model in mistral-finetune's own model code: layout conversion and a stand-in for xformers.

Works on a checkout of github.com/mistralai/mistral-finetune, which it imports and does not change. That code calls xformers'
memory_efficient_attention; here the same sum is done with torch's scaled_dot_product_attention, so no GPU is needed.
"""
import sys
import types

import torch
from safetensors.torch import load_file


class BlockDiagonalCausalMask:
    """Causal attention within each of several sequences laid end to end."""

    def __init__(self, seqlens: list[int]):
        owner = torch.repeat_interleave(torch.arange(len(seqlens)), torch.tensor(seqlens))
        place = torch.arange(len(owner))
        self.allowed = (owner[:, None] == owner[None]) & (place[:, None] >= place[None])  # [S, S] bool

    @classmethod
    def from_seqlens(cls, seqlens: list[int]):
        return cls(seqlens)


def memory_efficient_attention(query, key, value, bias: BlockDiagonalCausalMask):
    """query, key, value [1, S, heads, d] -> [1, S, heads, d]."""
    q, k, v = (t.transpose(1, 2) for t in (query, key, value))
    return torch.nn.functional.scaled_dot_product_attention(q, k, v.to(q.dtype), attn_mask=bias.allowed).transpose(1, 2)


def import_mistral(repo: str):
    """(Transformer, ModelArgs, LoraArgs) of the checkout `repo`."""
    fmha = types.ModuleType("xformers.ops.fmha")
    fmha.memory_efficient_attention = memory_efficient_attention
    attn_bias = types.ModuleType("xformers.ops.fmha.attn_bias")
    attn_bias.AttentionBias, attn_bias.BlockDiagonalCausalMask = object, BlockDiagonalCausalMask
    for name, module in {"xformers": types.ModuleType("xformers"), "xformers.ops": types.ModuleType("xformers.ops"), "xformers.ops.fmha": fmha, "xformers.ops.fmha.attn_bias": attn_bias}.items():
        sys.modules[name] = module
    sys.path.insert(0, repo)
    from model.args import LoraArgs, ModelArgs
    from model.transformer import Transformer

    return Transformer, ModelArgs, LoraArgs


def interleaved(weight, heads: int):
    """Query or key rows from Hugging Face's half-split rotary order to Mistral's interleaved one. weight: [heads * d, in]."""
    rows, width = weight.shape
    return weight.view(heads, 2, rows // heads // 2, width).transpose(1, 2).reshape(rows, width)


def mistral_weights(path: str, config: dict) -> dict[str, torch.Tensor]:
    """The Hugging Face safetensors file at `path` as a float32 state dict in Mistral's names and layout."""
    hf = {k: v.float() for k, v in load_file(path).items()}
    out = {"tok_embeddings.weight": hf["model.embed_tokens.weight"], "output.weight": hf["model.embed_tokens.weight"].clone(), "norm.weight": hf["model.norm.weight"]}
    for n in range(config["num_hidden_layers"]):
        a, b = f"model.layers.{n}.", f"layers.{n}."
        out[b + "attention.wq.weight"] = interleaved(hf[a + "self_attn.q_proj.weight"], config["num_attention_heads"])
        out[b + "attention.wk.weight"] = interleaved(hf[a + "self_attn.k_proj.weight"], config["num_key_value_heads"])
        for theirs, ours in {"attention.wv": "self_attn.v_proj", "attention.wo": "self_attn.o_proj", "feed_forward.w1": "mlp.gate_proj", "feed_forward.w2": "mlp.down_proj", "feed_forward.w3": "mlp.up_proj", "attention_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm"}.items():
            out[f"{b}{theirs}.weight"] = hf[f"{a}{ours}.weight"]
    return out


def mistral_model(repo: str, base: str, config: dict, rank: int, scaling: float):
    """The checkout's Transformer with the base's weights, in float32, and LoRA of `rank` on every linear layer of the blocks."""
    Transformer, ModelArgs, LoraArgs = import_mistral(repo)
    args = ModelArgs(dim=config["hidden_size"], n_layers=config["num_hidden_layers"], head_dim=config["head_dim"], hidden_dim=config["intermediate_size"], n_heads=config["num_attention_heads"], n_kv_heads=config["num_key_value_heads"], norm_eps=config["rms_norm_eps"], vocab_size=config["vocab_size"], rope_theta=config["rope_theta"], lora=LoraArgs(enable=True, rank=rank, dropout=0.0, scaling=scaling))
    model = Transformer(args)
    model.load_state_dict(mistral_weights(f"{base}/model.safetensors", config), strict=False)
    return model
