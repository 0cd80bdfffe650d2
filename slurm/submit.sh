#!/usr/bin/env bash
# Submits everything of a recipe that is missing: slurm/submit.sh RECIPE [key=value ...] [--dry-run]
set -euo pipefail

export SBP_HOME=${SBP_HOME:-$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)}
export PYTHONPATH=$SBP_HOME${PYTHONPATH:+:$PYTHONPATH}
python=python
if [ -x "$SBP_HOME/.venv/bin/python" ]; then python=$SBP_HOME/.venv/bin/python; fi
exec "$python" -P -m megatron_sbp submit "$@"
