"""Goldens of llama.cpp's adapter format: python make_gguf.py --repo DIR --out test/golden/formats

PEFT makes the adapter and the logits; llama.cpp's own convert_lora_to_gguf.py, run from a checkout (llama-cpp-python's
source archive has one as well), makes the file.
"""
import argparse
import pathlib
import subprocess
import sys
import tempfile

import peft
import tiny_base

parser = argparse.ArgumentParser()
parser.add_argument("--repo", type=pathlib.Path, required=True)
parser.add_argument("--out", type=pathlib.Path, required=True)
args = parser.parse_args()
LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
# Half precision and 8-bit blocks lose what PEFT's logits still have.
CASES = [("f32", LINEAR, 1e-5), ("f16", LINEAR, 1e-2), ("bf16", LINEAR, 2e-2), ("q8_0", LINEAR, 2e-2), ("f32", ["embed_tokens", "lm_head", "k_proj"], 1e-5)]

goldens = tiny_base.Goldens(args.out, "gguf")
for seed, (outtype, targets, tolerance) in enumerate(CASES):
    case = f"gguf-{outtype}" + ("-embeddings" if targets is not LINEAR else "")
    model = peft.get_peft_model(tiny_base.base("gqa"), peft.LoraConfig(task_type="CAUSAL_LM", r=4, lora_alpha=10, target_modules=targets)).eval()
    tiny_base.randomise([p for n, p in sorted(model.named_parameters()) if "lora_" in n], 50 + seed)
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder, save_embedding_layers=False)
        subprocess.run([sys.executable, args.repo / "convert_lora_to_gguf.py", "--base", args.out / "base-gqa", "--outtype", outtype,
                        "--outfile", goldens.folder(case) / "adapter.gguf", folder], check=True)
    goldens.add(case, "gqa", tiny_base.logits(model), tolerance=tolerance)
goldens.write()
