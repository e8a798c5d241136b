"""The base model's shape and its files on disk (Hugging Face layout).

Knows nothing of training. Invariant: every input dimension of a linear layer is a multiple of 32 (the block of the int4 and
int8 kernels), and a file's weights are bf16 exactly as the trained model rounds to them.
"""
import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM

from tokenizer import VOCAB

CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": VOCAB,
    "hidden_size": 256,
    "num_hidden_layers": 6,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 64,
    "intermediate_size": 704,
    "hidden_act": "silu",
    "max_position_embeddings": 1024,
    "rope_theta": 10000.0,
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": True,
    "attention_bias": False,
    "mlp_bias": False,
    "initializer_range": 0.02,
    "bos_token_id": 0,
    "eos_token_id": 2,
    "pad_token_id": 3,
    "use_cache": True,
    "torch_dtype": "bfloat16",
}


def new_model(seed: int):
    """A freshly initialised float32 LlamaForCausalLM of the shape above."""
    torch.manual_seed(seed)
    kwargs = {k: v for k, v in CONFIG.items() if k not in ("architectures", "model_type", "torch_dtype")}
    return LlamaForCausalLM(LlamaConfig(**kwargs, attn_implementation="sdpa"))


def save_model(model, out: Path):
    """Writes config.json, generation_config.json and model.safetensors (bf16; the tied head is left out)."""
    (out / "config.json").write_text(json.dumps(CONFIG, indent=2) + "\n")
    generation = {"bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 3}
    (out / "generation_config.json").write_text(json.dumps(generation, indent=2) + "\n")
    tensors = {n: t.detach().to(torch.bfloat16).contiguous() for n, t in model.state_dict().items() if n != "lm_head.weight"}
    save_file(tensors, out / "model.safetensors", metadata={"format": "pt", "license": "Apache-2.0"})
