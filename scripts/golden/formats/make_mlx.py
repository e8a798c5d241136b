"""Goldens of Apple's mlx_lm, run for real (pip install mlx mlx-cpu mlx-lm): python make_mlx.py --out test/golden/formats"""
import argparse
import json
import pathlib

import mlx.core as mx
import numpy
from mlx.utils import tree_flatten, tree_unflatten
from mlx_lm.models.llama import Model, ModelArgs
from mlx_lm.tuner.utils import linear_to_lora_layers
from mlx_lm.utils import save_config
from safetensors.numpy import save_file

PROMPT = [3, 17, 41, 9, 60, 22, 5, 33]
CASES = {
    "mlx": ("gqa", dict(rank=4, dropout=0.0, scale=2.5)),
    "mlx-embeddings": ("gqa", dict(rank=3, dropout=0.0, scale=4.0, keys=["self_attn.q_proj", "model.embed_tokens", "lm_head"])),
    "mlx-tied-embeddings": ("tied", dict(rank=3, dropout=0.0, scale=2.0, keys=["mlp.up_proj", "model.embed_tokens"])),
}

parser = argparse.ArgumentParser()
parser.add_argument("--out", type=pathlib.Path, required=True)
out = parser.parse_args().out
logits, facts = {}, {}
for seed, (case, (base, parameters)) in enumerate(CASES.items()):
    config = json.loads((out / f"base-{base}" / "config.json").read_text())
    config.setdefault("rope_theta", 10000.0)
    model = Model(ModelArgs.from_dict(config))
    model.load_weights(list(mx.load(str(out / f"base-{base}" / "model.safetensors")).items()), strict=True)
    model.freeze()
    linear_to_lora_layers(model, config["num_hidden_layers"], parameters)
    generator = numpy.random.default_rng(60 + seed)
    model.update(tree_unflatten([(name, mx.array((generator.standard_normal(value.shape) * 0.15).astype(numpy.float32)))
                                 for name, value in sorted(tree_flatten(model.trainable_parameters()))]))
    model.eval()
    folder = out / case
    folder.mkdir(parents=True, exist_ok=True)
    mx.save_safetensors(str(folder / "adapters.safetensors"), dict(tree_flatten(model.trainable_parameters())))
    save_config(dict(fine_tune_type="lora", num_layers=config["num_hidden_layers"], lora_parameters=parameters, model=f"base-{base}"), folder / "adapter_config.json")
    logits[case] = numpy.array(model(mx.array([PROMPT]))[0].astype(mx.float32))
    facts[case] = {"base": base}
save_file(logits, out / "mlx.safetensors")
(out / "mlx.json").write_text(json.dumps({"prompt": PROMPT, "cases": facts}, indent=1) + "\n")
