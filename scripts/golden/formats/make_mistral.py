"""Goldens of mistralai/mistral-finetune, run from a checkout: python make_mistral.py --repo DIR --out test/golden/formats

The repository's own Transformer, LoRALinear and rope compute the logits, on the tiny base's weights in Mistral's layout.
xformers needs CUDA, so `memory_efficient_attention` is given as the same maths with torch (one causal sequence).
"""
import argparse
import json
import pathlib
import sys
import types

import tiny_base
import torch
from safetensors.torch import save_file

parser = argparse.ArgumentParser()
parser.add_argument("--repo", type=pathlib.Path, required=True)
parser.add_argument("--out", type=pathlib.Path, required=True)
args = parser.parse_args()


def memory_efficient_attention(q, k, v, _mask):
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    return torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2)


class BlockDiagonalCausalMask:
    @staticmethod
    def from_seqlens(_seqlens):
        return None


for name, members in {
    "xformers": {}, "xformers.ops": {}, "xformers.ops.fmha": {"memory_efficient_attention": memory_efficient_attention},
    "xformers.ops.fmha.attn_bias": {"AttentionBias": object, "BlockDiagonalCausalMask": BlockDiagonalCausalMask},
}.items():
    module = types.ModuleType(name)
    module.__dict__.update(members)
    sys.modules[name] = module
sys.path.insert(0, str(args.repo))
from model.args import LoraArgs, ModelArgs  # noqa: E402
from model.transformer import Transformer  # noqa: E402


def interleave(weight, heads):
    """Hugging Face's row order to Mistral's."""
    rows, columns = weight.shape
    return weight.view(heads, 2, rows // heads // 2, columns).transpose(1, 2).reshape(rows, columns)


def mistral_weights(model):
    config, state = model.config, model.state_dict()
    weights = {"tok_embeddings.weight": state["model.embed_tokens.weight"], "norm.weight": state["model.norm.weight"], "output.weight": state["lm_head.weight"]}
    for i in range(config.num_hidden_layers):
        hf, mistral = f"model.layers.{i}.", f"layers.{i}."
        weights[mistral + "attention.wq.weight"] = interleave(state[hf + "self_attn.q_proj.weight"], config.num_attention_heads)
        weights[mistral + "attention.wk.weight"] = interleave(state[hf + "self_attn.k_proj.weight"], config.num_key_value_heads)
        for a, b in {"attention.wv": "self_attn.v_proj", "attention.wo": "self_attn.o_proj", "feed_forward.w1": "mlp.gate_proj",
                     "feed_forward.w2": "mlp.down_proj", "feed_forward.w3": "mlp.up_proj", "attention_norm": "input_layernorm",
                     "ffn_norm": "post_attention_layernorm"}.items():
            weights[f"{mistral}{a}.weight"] = state[f"{hf}{b}.weight"]
    return weights


goldens = tiny_base.Goldens(args.out, "mistral")
hf = tiny_base.base("gqa")
c = hf.config
for case, rank, scaling, dtype in (("mistral-finetune", 4, 2.0, torch.bfloat16), ("mistral-finetune-scaling", 2, 0.75, torch.float32)):
    lora = LoraArgs(rank=rank, scaling=scaling)
    model = Transformer(ModelArgs(dim=c.hidden_size, n_layers=c.num_hidden_layers, head_dim=c.head_dim, hidden_dim=c.intermediate_size,
                                  n_heads=c.num_attention_heads, n_kv_heads=c.num_key_value_heads, norm_eps=c.rms_norm_eps,
                                  vocab_size=c.vocab_size, rope_theta=10000.0, lora=lora))
    model.load_state_dict(mistral_weights(hf), strict=False, assign=True)
    parameters = [(n, p) for n, p in sorted(model.named_parameters()) if "lora_" in n]
    tiny_base.randomise([p for _, p in parameters], 40)
    state = {n: p.detach().to(dtype) for n, p in parameters}
    with torch.no_grad():
        for n, p in parameters:
            p.copy_(state[n].float())
        model.eval()
        value = model(torch.tensor(tiny_base.PROMPT), seqlens=[len(tiny_base.PROMPT)]).float().contiguous()
    folder = goldens.folder(case)
    save_file({n.replace("frozen_W.", ""): t for n, t in state.items()}, folder / "lora.safetensors")
    (folder / "params.json").write_text(json.dumps({
        "dim": c.hidden_size, "n_layers": c.num_hidden_layers, "head_dim": c.head_dim, "hidden_dim": c.intermediate_size, "n_heads": c.num_attention_heads,
        "n_kv_heads": c.num_key_value_heads, "norm_eps": c.rms_norm_eps, "vocab_size": c.vocab_size, "rope_theta": 10000.0,
        "lora": {"enable": True, "rank": rank, "dropout": 0.0, "scaling": scaling}, "moe": None}, indent=4))
    goldens.add(case, "gqa", value)
goldens.write()
