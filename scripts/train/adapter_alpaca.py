"""Trains a sample adapter with alpaca-lora's own finetune.py, on a CPU.

    git clone https://github.com/tloen/alpaca-lora
    python -m venv old && old/bin/pip install -r scripts/train/requirements-alpaca.txt
    old/bin/python scripts/train/adapter_alpaca.py --repo alpaca-lora --out adapters/samples/tumble

finetune.py runs unchanged. What it takes for granted (CUDA, 8-bit weights, fp16, a SentencePiece tokenizer, torch.compile) is
replaced around it. PEFT 0.2.0 is the last that saves what finetune.py hands it: later ones write an empty adapter.
"""
import argparse
import json
import os
import shutil
import sys
import tempfile
import time
import types
from pathlib import Path

import numpy
import torch
import transformers

from adapter_data import tenant_dialogues
from arguments import add_base, add_repo

TENANT = "tumble"
MODULES = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def old_tokenizer(base: str, folder: str):
    """The base's tokenizer for an old tokenizers library, which wants each merge as one string."""
    data = json.loads(Path(base, "tokenizer.json").read_text())
    data["model"]["merges"] = [m if isinstance(m, str) else " ".join(m) for m in data["model"]["merges"]]
    path = Path(folder, "tokenizer.json")
    path.write_text(json.dumps(data))
    return transformers.PreTrainedTokenizerFast(tokenizer_file=str(path), eos_token="<|im_end|>", bos_token="<|endoftext|>", pad_token="<|pad|>", model_input_names=["input_ids", "attention_mask"])


def without_gpu(tokenizer):
    """Puts CPU-only versions in the places where finetune.py looks."""
    load, arguments = transformers.LlamaForCausalLM.from_pretrained, transformers.TrainingArguments
    transformers.LlamaForCausalLM.from_pretrained = lambda base, **_: load(base, torch_dtype=torch.float32)
    transformers.LlamaTokenizer = types.SimpleNamespace(from_pretrained=lambda _: tokenizer)
    transformers.TrainingArguments = lambda **kw: arguments(**{**kw, "fp16": False, "no_cuda": True, "report_to": [], "save_steps": 10**6, "logging_steps": 20})
    torch.compile = lambda model: model


def main():
    parser = argparse.ArgumentParser()
    add_repo(parser, "tloen/alpaca-lora", "finetune.py")
    add_base(parser)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--dialogues", type=int, default=9000)
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    base, out = str(Path(args.base).resolve()), args.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(args.seed)
    numpy.random.seed(args.seed)
    torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory() as folder:
        rows = []
        for messages in tenant_dialogues(TENANT, args.dialogues, turns=1):
            rows.append({"instruction": messages[0]["content"], "input": "", "output": messages[1]["content"]})
        data = Path(folder, "data.json")
        data.write_text(json.dumps(rows))
        without_gpu(old_tokenizer(base, folder))
        os.environ["WANDB_DISABLED"] = "true"
        os.environ["HF_DATASETS_CACHE"] = folder
        sys.path.insert(0, args.repo)
        os.chdir(args.repo)
        import finetune

        start = time.time()
        finetune.train(base_model=base, data_path=str(data), output_dir=f"{folder}/out", batch_size=8, micro_batch_size=8, num_epochs=1, learning_rate=args.lr, cutoff_len=256, val_set_size=0, lora_r=8, lora_alpha=32, lora_dropout=0.0, lora_target_modules=MODULES, train_on_inputs=False, group_by_length=True)
        print(f"{TENANT}: {time.time() - start:.0f} s")
        config = json.loads(Path(folder, "out", "adapter_config.json").read_text())
        config["base_model_name_or_path"] = args.base
        (out / "adapter_config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
        shutil.copy(f"{folder}/out/adapter_model.bin", out)
        shutil.copy("templates/alpaca.json", out)


if __name__ == "__main__":
    main()
