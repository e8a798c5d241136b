"""Writes the tiny bases and their own logits: python make_base.py --out test/golden/formats"""
import argparse
import pathlib

import tiny_base

parser = argparse.ArgumentParser()
parser.add_argument("--out", type=pathlib.Path, required=True)
out = parser.parse_args().out
goldens = tiny_base.Goldens(out, "bare")
for name in ("gqa", "mha", "tied"):
    model = tiny_base.base(name)
    model.save_pretrained(out / f"base-{name}")
    (out / f"base-{name}" / "generation_config.json").unlink(missing_ok=True)
    goldens.add(name, name, tiny_base.logits(model))
goldens.write()
