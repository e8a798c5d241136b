"""Tiny random models of every supported architecture with the logits that transformers computes, and GGUF files of one of them.

    python scripts/golden/architectures.py test/golden/architectures

Made with transformers 5.23, torch 2.13, peft 0.21 and gguf 0.19. Weights are drawn so that every option shows in the logits, rounded
to the type they are saved in, and computed with in float32. Nothing here is trained.
"""
import copy
import hashlib
import json
import math
import os
import pathlib
import sys

import gguf
import numpy
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import (AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM, Qwen2Config,
                          Qwen2ForCausalLM, Qwen3Config, Qwen3ForCausalLM, SmolLM3Config, SmolLM3ForCausalLM)

VOCAB, TOKENS = 80, 40
PROMPT = torch.randint(3, VOCAB, (TOKENS,), generator=torch.Generator().manual_seed(11)).tolist()
SIZES = dict(vocab_size=VOCAB, hidden_size=64, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
             max_position_embeddings=128, rms_norm_eps=1e-5, bos_token_id=1, eos_token_id=2, pad_token_id=0)


def rope(kind: str, **parameters) -> dict:
    return {"rope_parameters": {"rope_theta": 10000.0, **parameters, "rope_type": kind}}


LLAMA, MISTRAL, QWEN2 = (LlamaConfig, LlamaForCausalLM), (MistralConfig, MistralForCausalLM), (Qwen2Config, Qwen2ForCausalLM)
QWEN3, SMOLLM3 = (Qwen3Config, Qwen3ForCausalLM), (SmolLM3Config, SmolLM3ForCausalLM)
LLAMA3 = rope("llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=32)
YARN = rope("yarn", factor=4.0, original_max_position_embeddings=32)
YARN_OPTIONS = rope("yarn", factor=4.0, original_max_position_embeddings=32, beta_fast=8.0, beta_slow=0.5, mscale=1.0,
                    mscale_all_dim=0.5, truncate=False)
F32, F16, BF16 = torch.float32, torch.float16, torch.bfloat16
# name: (classes, options, saved type, whose weights: of models that differ in config.json alone they are kept once)
CASES = {
    "llama": (LLAMA, {}, F16, "llama"),
    "llama-theta": (LLAMA, rope("default", rope_theta=500000.0), F16, "llama"),
    "llama-linear": (LLAMA, rope("linear", factor=4.0), F16, "llama"),
    # The original context is so short that frequencies fall into all three bands.
    "llama-llama3": (LLAMA, LLAMA3, F16, "llama"),
    "llama-yarn": (LLAMA, YARN, F16, "llama"),
    "llama-yarn-options": (LLAMA, YARN_OPTIONS, F16, "llama"),
    "llama-tied": (LLAMA, {"tie_word_embeddings": True}, F16, "llama-tied"),
    "llama-f32-mha": (LLAMA, {"num_key_value_heads": 4, "num_hidden_layers": 1}, F32, "llama-f32-mha"),
    "llama-bf16-sharded": (LLAMA, {}, BF16, "llama-bf16-sharded"),
    "llama-bias": (LLAMA, {"attention_bias": True, "mlp_bias": True}, F16, "llama-bias"),
    "llama-head-dim": (LLAMA, {"head_dim": 32, "tie_word_embeddings": True}, F16, "llama-head-dim"),
    # Windows shorter than the prompt.
    "mistral": (MISTRAL, {"sliding_window": None}, F16, "llama"),
    "mistral-window": (MISTRAL, {"sliding_window": 8}, F16, "llama"),
    "mistral-window-1": (MISTRAL, {"sliding_window": 1}, F16, "llama"),
    "qwen2": (QWEN2, {"tie_word_embeddings": True}, F16, "qwen2"),
    "qwen2-window": (QWEN2, {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 1, "tie_word_embeddings": True},
                     F16, "qwen2"),
    "qwen3": (QWEN3, {"head_dim": 32, "tie_word_embeddings": True}, F16, "qwen3"),
    "qwen3-bias": (QWEN3, {"head_dim": 16, "attention_bias": True, "num_hidden_layers": 1}, F16, "qwen3-bias"),
    "smollm3": (SMOLLM3, {"num_hidden_layers": 4}, F16, "smollm3"),
    "smollm3-pattern": (SMOLLM3, {"no_rope_layers": [0, 1], "tie_word_embeddings": False}, F16, "llama"),
}
# One untied, one tied.
ADAPTERS = ["llama", "llama-tied"]


def draw(model, seed: int) -> None:
    """Matrices of about variance 2 / in, so that attention is neither flat nor one-hot; gains around one; biases that matter."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if "norm" in name:
                parameter.copy_(1 + 0.2 * noise)
            elif parameter.dim() == 1:
                parameter.copy_(0.3 * noise)
            else:
                parameter.copy_(noise * (1.0 if "embed" in name else (2 / parameter.shape[1]) ** 0.5))


def logits(model) -> torch.Tensor:
    """[tokens, vocab] f32 of PROMPT."""
    with torch.no_grad():
        return model.eval()(torch.tensor([PROMPT])).logits[0].contiguous()


def make_model(name: str, out: pathlib.Path):
    (config_class, model_class), options, dtype, weights = CASES[name]
    model = model_class(config_class(**{**SIZES, **options}, attn_implementation="eager"))
    draw(model, seed=7)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter.to(dtype))
    if weights == name:
        # A copy, since the cast would round the rotary frequencies as well.
        copy.deepcopy(model).to(dtype).save_pretrained(out / name, **({"max_shard_size": "40KB"} if "sharded" in name else {}))
        (out / name / "generation_config.json").unlink(missing_ok=True)
    else:
        model.config.save_pretrained(out / name)
        saved, own = load_file(out / weights / "model.safetensors"), model.state_dict()
        assert all(torch.equal(saved[key].float(), own[key]) for key in saved), f"{name} does not have the weights of {weights}"
    return model


def make_adapter(name: str, model, out: pathlib.Path) -> torch.Tensor:
    """A PEFT adapter over attention, the MLP, the embeddings and the head; its logits."""
    modules = ["q_proj", "v_proj", "down_proj", "embed_tokens", "lm_head"]
    tuned = get_peft_model(model, LoraConfig(r=3, lora_alpha=6, target_modules=modules))
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter_name, parameter in tuned.named_parameters():
            if "lora_" in parameter_name:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.15)
    # False: the whole embedding matrices stay out of the file.
    tuned.save_pretrained(out / f"{name}-adapter", save_embedding_layers=False)
    (out / f"{name}-adapter" / "README.md").unlink()
    # PEFT writes a set: in another order each time.
    config = out / f"{name}-adapter" / "adapter_config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "target_modules": sorted(modules)}, indent=2) + "\n")
    return logits(tuned)


def write_gguf(path: pathlib.Path, config, tensors: dict[str, tuple[numpy.ndarray, gguf.GGMLQuantizationType]]) -> None:
    """A GGUF file as llama.cpp's converter lays it out; `tensors` by GGUF name, already in their type's bytes."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(10000.0)
    writer.add_rope_dimension_count(config.hidden_size // config.num_attention_heads)
    writer.add_vocab_size(config.vocab_size)
    # A vocabulary of single bytes: enough for the file to be opened.
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list([chr(0x21 + i) if i < 0x5E else f"<{i}>" for i in range(config.vocab_size)])
    writer.add_token_types([1] * config.vocab_size)
    writer.add_token_merges(["! !"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    for name, (data, kind) in tensors.items():
        writer.add_tensor(name, data, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


NAMES = {"self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
         "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm",
         "post_attention_layernorm": "ffn_norm"}


def gguf_name(name: str) -> str:
    top = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
    path, kind = name.rsplit(".", 1)
    if path in top:
        return f"{top[path]}.{kind}"
    _, _, layer, module = path.split(".", 3)
    return f"blk.{layer}.{NAMES[module]}.{kind}"


def converted(model) -> dict[str, numpy.ndarray]:
    """Tensors by GGUF name in the converter's order: rows of q and k interleaved (LlamaModel.permute in convert_hf_to_gguf.py)."""
    config, out = model.config, {}
    for name, tensor in model.state_dict().items():
        values = tensor.float().numpy()
        heads = config.num_attention_heads if "q_proj" in name else config.num_key_value_heads if "k_proj" in name else 0
        if heads:
            rows, columns = values.shape
            values = values.reshape(heads, 2, rows // heads // 2, columns).swapaxes(1, 2).reshape(rows, columns)
        out[gguf_name(name)] = numpy.ascontiguousarray(values)
    return out


def random_blocks(shape: tuple[int, ...], kind: gguf.GGMLQuantizationType, generator: numpy.random.Generator) -> numpy.ndarray:
    """Valid blocks of a type that gguf cannot write: any bytes, but with scales of a useful size."""
    block, size = gguf.GGML_QUANT_SIZES[kind]
    blocks = generator.integers(0, 256, (shape[0] * shape[1] // block, size), dtype=numpy.uint8)
    if kind != gguf.GGMLQuantizationType.Q6_K:
        middle = 7.5 if kind == gguf.GGMLQuantizationType.Q4_K else 15.5
        scale = generator.uniform(0.5, 1, len(blocks)) / 267 / middle
        blocks[:, 0:2] = scale.astype(numpy.float16)[:, None].view(numpy.uint8)
        blocks[:, 2:4] = (scale * middle).astype(numpy.float16)[:, None].view(numpy.uint8)
    else:
        scale = generator.uniform(0.5, 1, len(blocks)) / 20000
        blocks[:, -2:] = scale.astype(numpy.float16)[:, None].view(numpy.uint8)
    return blocks.reshape(shape[0], -1)


def gguf_cases():
    """(file, config, tensors) of every type: the simple ones quantised from one model, the K types as random blocks."""
    kinds = gguf.GGMLQuantizationType
    small = LlamaForCausalLM(LlamaConfig(**{**SIZES, "num_hidden_layers": 1}))
    draw(small, seed=9)
    for kind in [kinds.F32, kinds.F16, kinds.BF16, kinds.Q8_0, kinds.Q4_0, kinds.Q4_1, kinds.Q5_0, kinds.Q5_1]:
        tensors = {}
        for name, values in converted(small).items():
            # Norms stay in f32, as in every published file.
            own = kinds.F32 if values.ndim == 1 else kind
            tensors[name] = (gguf.quants.quantize(values, own), own)
        yield kind.name.lower(), small.config, tensors
    wide = LlamaForCausalLM(LlamaConfig(**{**SIZES, "num_hidden_layers": 1, "hidden_size": 256, "intermediate_size": 256}))
    draw(wide, seed=9)
    generator = numpy.random.default_rng(3)
    tensors = {}
    for i, (name, values) in enumerate(converted(wide).items()):
        kind = kinds.F32 if values.ndim == 1 else [kinds.Q4_K, kinds.Q5_K, kinds.Q6_K][i % 3]
        tensors[name] = (values, kind) if values.ndim == 1 else (random_blocks(values.shape, kind, generator), kind)
    yield "k-quants", wide.config, tensors


def rope_divisors(config) -> numpy.ndarray:
    """What convert_hf_to_gguf.py (LlamaModel.generate_extra_tensors) stores of Llama 3's rope scaling: one divisor for each frequency."""
    scaling, size = config.rope_parameters, config.hidden_size // config.num_attention_heads
    original, low, high = (scaling[key] for key in ("original_max_position_embeddings", "low_freq_factor", "high_freq_factor"))
    divisors = []
    for i in range(0, size, 2):
        wavelength = 2 * math.pi * scaling["rope_theta"] ** (i / size)
        smooth = min(1, max(0, (original / wavelength - low) / (high - low)))
        divisors.append(1 / ((1 - smooth) / scaling["factor"] + smooth))
    return numpy.array(divisors, dtype=numpy.float32)


def tensor_hashes(model) -> dict:
    return {
        key: {"shape": list(tensor.shape), "sha256": hashlib.sha256(tensor.float().contiguous().numpy().tobytes()).hexdigest()}
        for key, tensor in model.state_dict().items()
    }


def make_gguf(out: pathlib.Path, expected: dict[str, torch.Tensor]) -> dict:
    """Writes the files and reads them back with transformers, which undoes the order of q and k. Returns the tensors' hashes."""
    hashes = {}
    for name, config, tensors in gguf_cases():
        write_gguf(out / f"{name}.gguf", config, tensors)
        model = AutoModelForCausalLM.from_pretrained(out, gguf_file=f"{name}.gguf", dtype=torch.float32, attn_implementation="eager")
        expected[f"gguf-{name}"] = logits(model)
        hashes[name] = tensor_hashes(model)
    # transformers does not read the divisors: these logits are those of the Hugging Face directory.
    name, model = "f16-llama3-rope", make_model("llama-llama3", out)
    tensors = {key: (gguf.quants.quantize(values, own), own) for key, values in converted(model).items()
               for own in [gguf.GGMLQuantizationType.F32 if values.ndim == 1 else gguf.GGMLQuantizationType.F16]}
    tensors["rope_freqs.weight"] = (rope_divisors(model.config), gguf.GGMLQuantizationType.F32)
    write_gguf(out / f"{name}.gguf", model.config, tensors)
    hashes[name], expected[f"gguf-{name}"] = tensor_hashes(model), expected["llama-llama3"].clone()
    return hashes


def main() -> None:
    out = pathlib.Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    expected: dict[str, torch.Tensor] = {}
    for name in CASES:
        model = make_model(name, out)
        expected[name] = logits(model)
        if name in ADAPTERS:
            expected[f"{name}-adapter"] = make_adapter(name, model, out)
    hashes = make_gguf(out, expected)
    save_file(expected, out / "logits.safetensors")
    facts = {"prompt": PROMPT, "models": {name: case[3] for name, case in CASES.items()}, "adapters": ADAPTERS, "gguf": hashes}
    (out / "goldens.json").write_text(json.dumps(facts, indent=1) + "\n")
    os.sync()


if __name__ == "__main__":
    main()
