"""Goldens of Hugging Face PEFT (whatever version is installed): python make_peft.py --out test/golden/formats [--suffix -0.7]"""
import argparse
import pathlib

import peft
import tiny_base

LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
# On the `tied` base.
TIED = {"peft-tied-embeddings", "peft-tied-ensured"}
CASES = {
    "peft-plain": (dict(r=4, lora_alpha=32, target_modules=LINEAR), {}),
    "peft-rslora": (dict(r=4, lora_alpha=12, use_rslora=True, target_modules=LINEAR), {}),
    "peft-attention-only": (dict(r=2, lora_alpha=3, target_modules=["q_proj", "v_proj"]), {}),
    "peft-patterns": (
        dict(r=4, lora_alpha=8, target_modules=LINEAR, rank_pattern={"q_proj": 2, r"layers\.1\.mlp\..*": 6},
             alpha_pattern={"k_proj": 32, r"^model\.layers\.0\.mlp\.up_proj": 1, "layers.1.self_attn.v_proj": 5}), {}),
    "peft-regex": (dict(r=3, lora_alpha=7, target_modules=r".*\.1\.(self_attn|mlp)\.(q|v|up|down)_proj"), {}),
    "peft-all-linear": (dict(r=2, lora_alpha=4, target_modules="all-linear"), {}),
    "peft-one-layer": (dict(r=2, lora_alpha=4, target_modules=LINEAR, layers_to_transform=[1]), {}),
    "peft-embeddings": (dict(r=3, lora_alpha=6, target_modules=["embed_tokens", "lm_head", "q_proj"]), {}),
    "peft-bin": (dict(r=4, lora_alpha=16, target_modules=["q_proj", "k_proj", "v_proj"]), dict(safe_serialization=False)),
    "peft-tied-embeddings": (dict(r=3, lora_alpha=6, target_modules=["embed_tokens", "q_proj"]), {}),
    "peft-tied-ensured": (dict(r=3, lora_alpha=6, target_modules=["embed_tokens", "q_proj"], ensure_weight_tying=True), {}),
    "peft-velora": (dict(r=4, lora_alpha=12, target_modules=["q_proj", "down_proj"], velora_config=dict(num_groups=4, init_type="random")), {}),
    "peft-monteclora": (dict(r=4, lora_alpha=12, target_modules=["q_proj", "down_proj"], monteclora_config=dict(num_samples=4)), {}),
}

parser = argparse.ArgumentParser()
parser.add_argument("--out", type=pathlib.Path, required=True)
parser.add_argument("--suffix", default="")
parser.add_argument("--only", nargs="*")
args = parser.parse_args()
goldens = tiny_base.Goldens(args.out, f"peft{args.suffix}")
for seed, (case, (config, saving)) in enumerate(CASES.items()):
    if args.only and case not in args.only:
        continue
    base_name = "tied" if case in TIED else "gqa"
    model = peft.get_peft_model(tiny_base.base(base_name), peft.LoraConfig(task_type="CAUSAL_LM", **config)).eval()
    tiny_base.randomise([p for n, p in sorted(model.named_parameters()) if "lora_" in n], seed)
    folder = goldens.folder(case + args.suffix)
    model.save_pretrained(folder, **saving)
    (folder / "README.md").unlink(missing_ok=True)
    goldens.add(case + args.suffix, base_name, tiny_base.logits(model), peft=peft.__version__)
goldens.write()
