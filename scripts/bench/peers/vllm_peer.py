"""vLLM's CPU engine as a peer of the bench: vllm_peer.py WORK ROWS bare|lora

Offline engine, without its HTTP server: what it can do at best. Reads one JSON request a line,
{"adapters": [index or null, ...], "prompt": [token ids], "tokens": n}, and answers each with one line,
{"sentMs": t, "tokenTimesMs": [[t, ...], ...]}: when each row's tokens came.
"""

import json
import os
import sys
import time

os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "2")

from vllm import LLM, SamplingParams  # noqa: E402
from vllm.lora.request import LoRARequest  # noqa: E402

RANK = 16
CONTEXT_TOKENS = 1024


def main() -> None:
    work, rows, mode = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    answers, sys.stdout = sys.stdout, sys.stderr
    lora = {"enable_lora": True, "max_loras": rows, "max_cpu_loras": rows, "max_lora_rank": RANK}
    llm = LLM(
        model=f"{work}/model",
        dtype=os.environ.get("PEER_DTYPE", "bfloat16"),
        max_model_len=CONTEXT_TOKENS,
        max_num_seqs=rows,
        enable_prefix_caching=False,
        **(lora if mode == "lora" else {}),
    )
    print(json.dumps({"ready": True}), file=answers, flush=True)
    for number, line in enumerate(sys.stdin):
        print(json.dumps(generate(llm.llm_engine, work, number, json.loads(line))), file=answers, flush=True)


def generate(engine, work: str, number: int, request: dict) -> dict:
    tokens = request["tokens"]
    sampling = SamplingParams(temperature=0, max_tokens=tokens, min_tokens=tokens, ignore_eos=True, detokenize=True)
    times: dict[str, list[float]] = {}
    sent = time.perf_counter() * 1000
    for row, adapter in enumerate(request["adapters"]):
        name = f"{number}-{row}"
        times[name] = []
        lora = None if adapter is None else LoRARequest(f"a{adapter}", adapter + 1, f"{work}/adapter-{adapter}")
        engine.add_request(name, {"prompt_token_ids": request["prompt"]}, sampling, lora_request=lora)
    while engine.has_unfinished_requests():
        outputs = engine.step()
        now = time.perf_counter() * 1000
        for output in outputs:
            known = times[output.request_id]
            known.extend([now] * (len(output.outputs[0].token_ids) - len(known)))
    return {"sentMs": sent, "tokenTimesMs": list(times.values())}


main()
