"""Makes what the peers read out of what the bench has: prepare.py MODEL WORK

MODEL is a Hugging Face directory or a GGUF file of llama weights; WORK/adapter-<n> are PEFT adapters. Writes
WORK/model, the same weights in bf16 and in Hugging Face layout, and WORK/adapter.gguf, the first adapter as llama.cpp
reads it. Prints nothing.
"""

import json
import re
import sys
from pathlib import Path

import gguf
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

# llama.cpp's name of each projection.
GGUF_NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def save_model(source: Path, target: Path) -> None:
    where = {"pretrained_model_name_or_path": source}
    if source.is_file():
        where = {"pretrained_model_name_or_path": source.parent, "gguf_file": source.name}
    loaded = AutoModelForCausalLM.from_pretrained(**where, dtype=torch.bfloat16)
    # What came from GGUF still calls itself quantised and refuses to be saved: its values go into a plain model.
    settings = {key: value for key, value in loaded.config.to_dict().items() if key != "quantization_config"}
    plain = AutoModelForCausalLM.from_config(type(loaded.config)(**settings), dtype=torch.bfloat16)
    plain.load_state_dict(loaded.state_dict())
    plain.save_pretrained(target)
    AutoTokenizer.from_pretrained(**where).save_pretrained(target)


def save_gguf_adapter(adapter: Path, config: dict, target: Path) -> None:
    tensors = load_file(adapter / "adapter_model.safetensors")
    writer = gguf.GGUFWriter(target, "llama")
    writer.add_string("general.type", "adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", json.loads((adapter / "adapter_config.json").read_text())["lora_alpha"])
    for name, tensor in tensors.items():
        layer, module, matrix = re.search(r"layers\.(\d+)\.(\S+)\.lora_([AB])\.weight", name).groups()
        if matrix == "B" and module in ("self_attn.q_proj", "self_attn.k_proj"):
            tensor = interleaved(tensor, config["num_attention_heads" if "q_proj" in module else "num_key_value_heads"])
        writer.add_tensor(f"blk.{layer}.{GGUF_NAMES[module]}.weight.lora_{matrix.lower()}", tensor.float().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def interleaved(b: torch.Tensor, heads: int) -> torch.Tensor:
    """Rows of q or k in llama.cpp's rotary order: the halves of each head interleaved."""
    out, rank = b.shape
    return b.reshape(heads, 2, out // heads // 2, rank).transpose(1, 2).reshape(out, rank).contiguous()


if __name__ == "__main__":
    model, work = Path(sys.argv[1]), Path(sys.argv[2])
    save_model(model, work / "model")
    shape = json.loads((work / "model/config.json").read_text())
    save_gguf_adapter(work / "adapter-0", shape, work / "adapter.gguf")
