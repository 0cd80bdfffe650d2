#!/usr/bin/env bash
# Runs the trainer's tests with other versions of megatron-core than the locked one:
#
#   bash scripts/test_versions.sh 0.19.0 0.19.2
#
# Needs the package index. The versions take precedence over .venv's, which does not change.
set -euo pipefail
cd "$(dirname "$0")/.."
for version in "$@"; do
    folder=$(mktemp -d)
    trap 'rm -rf "$folder"' EXIT
    .venv/bin/uv pip install -q --no-deps --python .venv/bin/python --target "$folder" "megatron-core==$version"
    echo "megatron-core $version: $(PYTHONPATH=$folder .venv/bin/python -c 'import megatron.core as m; print(m.__version__, m.__path__[0].startswith("'"$folder"'"))')"
    PYTHONPATH="$folder" .venv/bin/python -m pytest -q -n 2 --dist loadfile tests/training
    rm -rf "$folder"
done
