"""One golden per old PEFT version: python make_peft_versions.py --out test/golden/formats, once in each version's environment.

Old PEFT needs an old transformers, which knows no grouped key/value heads: everything here is on the `mha` base. What is
saved is whatever that version saves by default. PEFT 0.1 and 0.2 also have `enable_lora`: one layer for q, k and v.
"""
import argparse
import importlib.machinery
import importlib.util
import pathlib
import sys
import types

if importlib.util.find_spec("bitsandbytes") is None:
    # PEFT 0.1 imports it even where nothing is quantised.
    stand_in = types.ModuleType("bitsandbytes")
    stand_in.__spec__ = importlib.machinery.ModuleSpec("bitsandbytes", None)
    stand_in.nn = types.SimpleNamespace(Linear8bitLt=type("Linear8bitLt", (), {}), Linear4bit=type("Linear4bit", (), {}))
    sys.modules["bitsandbytes"] = stand_in

import peft
import tiny_base
import torch

parser = argparse.ArgumentParser()
parser.add_argument("--out", type=pathlib.Path, required=True)
args = parser.parse_args()
version = peft.__version__
minor = int(version.split(".")[1])
goldens = tiny_base.Goldens(args.out, f"peft-{version}")


def save(case, config, model):
    model = peft.get_peft_model(model, peft.LoraConfig(task_type="CAUSAL_LM", **config)).eval()
    tiny_base.randomise([p for n, p in sorted(model.named_parameters()) if "lora_" in n], minor)
    folder = goldens.folder(case)
    model.save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)
    goldens.add(case, "mha", tiny_base.logits(model), peft=version)


def fuse(attention):
    """q, k and v as one Linear named qkv_proj; q_proj and the others take their third of its output."""
    parts = [attention.q_proj, attention.k_proj, attention.v_proj]
    attention.qkv_proj = torch.nn.Linear(parts[0].in_features, sum(p.out_features for p in parts), bias=False)
    attention.qkv_proj.weight.data = torch.cat([p.weight.data for p in parts]).clone()
    owner = [attention]

    class Part(torch.nn.Module):
        def __init__(self, i):
            super().__init__()
            self.i = i

        def forward(self, x):
            return owner[0].qkv_proj(x).chunk(3, dim=-1)[self.i]

    attention.q_proj, attention.k_proj, attention.v_proj = Part(0), Part(1), Part(2)


config = dict(r=4, lora_alpha=12, lora_dropout=0.0, target_modules=["q_proj", "v_proj", "down_proj"])
if minor >= 6:
    config |= dict(rank_pattern={"v_proj": 2}, alpha_pattern={"down_proj": 20})
if minor >= 8:
    config |= dict(use_rslora=True)
save(f"peft-{version}", config, tiny_base.base("mha", args.out))
if minor >= 6:
    # Two different keys hit q_proj: until 0.13 the first of both lists decided for rank and alpha alike.
    save(f"peft-{version}-two-keys", dict(r=4, lora_alpha=12, lora_dropout=0.0, target_modules=["q_proj", "v_proj"], rank_pattern={"q_proj": 2},
                                          alpha_pattern={"self_attn.q_proj": 40}), tiny_base.base("mha", args.out))
if minor <= 2:
    model = tiny_base.base("mha", args.out)
    for layer in model.model.layers:
        fuse(layer.self_attn)
    save(f"peft-{version}-fused", dict(r=4, lora_alpha=12, lora_dropout=0.0, target_modules=["qkv_proj"], enable_lora=[True, False, True]), model)
goldens.write()
