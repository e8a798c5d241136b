"""The empty adapter_model.bin that alpaca-lora's finetune.py leaves with PEFT 0.3 and later, made as it makes it.

finetune.py replaces `model.state_dict` by `get_peft_model_state_dict`, which save_pretrained then filters a second time:
run in the environment of such a PEFT version: python make_alpaca.py --out test/golden/formats
"""
import argparse
import pathlib

import tiny_base
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict

parser = argparse.ArgumentParser()
parser.add_argument("--out", type=pathlib.Path, required=True)
out = parser.parse_args().out
model = get_peft_model(tiny_base.base("mha", out), LoraConfig(r=8, lora_alpha=16, target_modules=["q_proj", "v_proj"], lora_dropout=0.05, bias="none", task_type="CAUSAL_LM"))
old_state_dict = model.state_dict
model.state_dict = (lambda self, *_, **__: get_peft_model_state_dict(self, old_state_dict())).__get__(model, type(model))
model.save_pretrained(out / "alpaca-empty")
