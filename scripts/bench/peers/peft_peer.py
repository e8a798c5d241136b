"""PEFT's mixed batch as a peer of the bench: peft_peer.py WORK ROWS. Requests and answers as in vllm_peer.py."""

import json
import os
import sys
import time

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, LogitsProcessor, LogitsProcessorList


class Clock(LogitsProcessor):
    """Notes when the logits of each token were there."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        self.times.append(time.perf_counter() * 1000)
        return scores


@torch.inference_mode()
def generate(model: PeftModel, request: dict) -> dict:
    rows, tokens, clock = len(request["adapters"]), request["tokens"], Clock()
    ids = torch.tensor([request["prompt"]] * rows)
    options = {
        "attention_mask": torch.ones_like(ids),
        "max_new_tokens": tokens,
        "min_new_tokens": tokens,
        "do_sample": False,
        "logits_processor": LogitsProcessorList([clock]),
    }
    sent = time.perf_counter() * 1000
    if all(adapter is None for adapter in request["adapters"]):
        with model.disable_adapter():
            model.generate(input_ids=ids, **options)
    else:
        names = ["__base__" if adapter is None else f"a{adapter}" for adapter in request["adapters"]]
        model.generate(input_ids=ids, adapter_names=names, **options)
    return {"sentMs": sent, "tokenTimesMs": [clock.times] * rows}


def main() -> None:
    work, rows = sys.argv[1], int(sys.argv[2])
    dtype = getattr(torch, os.environ.get("PEER_DTYPE", "bfloat16"))
    base = AutoModelForCausalLM.from_pretrained(f"{work}/model", dtype=dtype)
    model = PeftModel.from_pretrained(base, f"{work}/adapter-0", adapter_name="a0", autocast_adapter_dtype=False)
    for adapter in range(1, rows):
        model.load_adapter(f"{work}/adapter-{adapter}", adapter_name=f"a{adapter}", autocast_adapter_dtype=False)
    model.eval()
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        print(json.dumps(generate(model, json.loads(line))), flush=True)


main()
