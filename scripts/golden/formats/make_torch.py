"""Files of torch.save with every kind of tensor that the reader takes, and their values: python make_torch.py --out test/golden/formats"""
import argparse
import collections
import json
import pathlib

import torch

parser = argparse.ArgumentParser()
parser.add_argument("--out", type=pathlib.Path, required=True)
out = parser.parse_args().out / "torch"
out.mkdir(parents=True, exist_ok=True)
base = torch.arange(24, dtype=torch.float32).reshape(4, 6) / 8 - 1
state = collections.OrderedDict(
    f32=base,
    f64=base.double(),
    f16=base.half(),
    bf16=base.bfloat16(),
    parameter=torch.nn.Parameter(base * 2),
    transposed=base.t(),
    row=base[2],
    every_other=base[:, ::2],
    scalar=torch.tensor(0.5),
    empty=torch.empty(0, 3),
    three=base.reshape(2, 3, 4).permute(2, 0, 1),
)
torch.save(state, out / "zip.pt")
torch.save(state, out / "legacy.pt", _use_new_zipfile_serialization=False)
torch.save({"state_dict": state, "epoch": 3, "args": {"lr": 1e-3, "names": ["a", "b"], "flag": True, "nothing": None}}, out / "wrapped.pt")
torch.save(dict(state), out / "protocol4.pt", pickle_protocol=4)
expected = {name: {"shape": list(value.shape), "values": value.detach().float().flatten().tolist()} for name, value in state.items()}
(out / "expected.json").write_text(json.dumps(expected) + "\n")
