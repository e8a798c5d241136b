"""Computes golden logits with the system that made an adapter, in float32, and writes them into test/golden.

    python scripts/golden/golden.py --system peft                              base, forno, harrow
    python scripts/golden/golden.py --system loralib                           spoke
    python scripts/golden/golden.py --system mistral --repo mistral-finetune   petal
    old/bin/python scripts/golden/golden.py --system alpaca --repo alpaca-lora tumble (old PEFT, see scripts/train)

Each run replaces its own cases and leaves the others. Uses none of Polylora's own reading of the formats.
"""
import argparse
import json
import os
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from cases import CASES, chatml

ROOT = Path(__file__).parents[2]
BASE, SAMPLES, OUT = ROOT / "gpu-backend" / "base-model", ROOT / "adapters" / "samples", ROOT / "test" / "golden"
TENANTS = {"peft": ["base", "forno", "harrow"], "loralib": ["spoke"], "mistral": ["petal"], "alpaca": ["tumble"]}
EOS, LIMIT = 2, 48
sys.path.insert(0, str(ROOT / "scripts" / "train"))


def hf_base():
    from transformers import LlamaForCausalLM

    return LlamaForCausalLM.from_pretrained(BASE, torch_dtype=torch.float32)


def peft_logits(tenant: str, _repo):
    """ids -> logits of the last position [vocab], from PEFT (or the bare base)."""
    model = hf_base()
    if tenant != "base":
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, str(SAMPLES / tenant))
    model = model.float().eval()
    return lambda ids: model(input_ids=torch.tensor([ids])).logits[0, -1]


def loralib_logits(tenant: str, _repo):
    from adapter_loralib import with_lora

    side = json.loads((SAMPLES / tenant / "lora.json").read_text())
    model = with_lora(hf_base(), side["r"], side["lora_alpha"])
    # Left in training mode: eval() would merge A and B into the weights, and there is no dropout.
    model.load_state_dict(torch.load(SAMPLES / tenant / f"{tenant}.pt"), strict=False)
    return lambda ids: model(input_ids=torch.tensor([ids])).logits[0, -1]


def mistral_logits(tenant: str, repo):
    from mistral_layout import mistral_model

    lora = json.loads((SAMPLES / tenant / "params.json").read_text())["lora"]
    model = mistral_model(repo, str(BASE), json.loads((BASE / "config.json").read_text()), lora["rank"], lora["scaling"])
    model.load_state_dict({k: v.float() for k, v in load_file(SAMPLES / tenant / "lora.safetensors").items()}, strict=False)
    return lambda ids: model(torch.tensor(ids), [len(ids)])[-1]


def tokenizer_ids(text: str) -> list[int]:
    from tokenizers import Tokenizer

    data = json.loads((BASE / "tokenizer.json").read_text())
    try:
        tokenizer = Tokenizer.from_str(json.dumps(data))
    except Exception:  # the old tokenizers library wants each merge as one string
        data["model"]["merges"] = [" ".join(m) for m in data["model"]["merges"]]
        tokenizer = Tokenizer.from_str(json.dumps(data))
    return tokenizer.encode(text, add_special_tokens=False).ids


def alpaca_prompt(messages, repo) -> str:
    """The last user message as alpaca-lora's prompter renders it, from the template kept beside the adapter."""
    sys.path.insert(0, repo)
    os.chdir(repo)
    from utils.prompter import Prompter

    return Prompter("alpaca").generate_prompt(messages[-1]["content"])


@torch.no_grad()
def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--system", choices=TENANTS, required=True)
    parser.add_argument("--repo")
    args = parser.parse_args()
    repo = str(Path(args.repo).resolve()) if args.repo else None
    torch.set_num_threads(1)
    OUT.mkdir(parents=True, exist_ok=True)
    tensors_path, cases_path = OUT / "logits.safetensors", OUT / "cases.json"
    tensors = load_file(tensors_path) if tensors_path.exists() else {}
    cases = json.loads(cases_path.read_text()) if cases_path.exists() else {}
    make = {"peft": peft_logits, "alpaca": peft_logits, "loralib": loralib_logits, "mistral": mistral_logits}[args.system]
    for tenant in TENANTS[args.system]:
        logits_of = make(tenant, repo)
        for case, (owner, messages) in CASES.items():
            if owner != tenant:
                continue
            prompt = alpaca_prompt(messages, repo) if args.system == "alpaca" else chatml(messages)
            ids, greedy = tokenizer_ids(prompt), []
            first = logits_of(ids).float()
            while len(greedy) < LIMIT and (not greedy or greedy[-1] != EOS):
                greedy.append(int((logits_of(ids + greedy) if greedy else first).argmax()))
            tensors[f"{case}.logits"] = first.contiguous().clone()
            tensors[f"{case}.prompt_ids"] = torch.tensor(ids, dtype=torch.int32)
            tensors[f"{case}.greedy_ids"] = torch.tensor(greedy, dtype=torch.int32)
            cases[case] = {"tenant": tenant, "system": args.system, "messages": messages, "prompt": prompt}
            print(case, len(ids), greedy)
    save_file(dict(sorted(tensors.items())), tensors_path)
    cases_path.write_text(json.dumps({k: cases[k] for k in CASES if k in cases}, indent=2, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
