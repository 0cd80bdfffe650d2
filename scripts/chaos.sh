#!/usr/bin/env bash
# Hundreds of seeded sequences of faults against a whole run, for a night: kills, full disks, damaged files, changed
# recipes, second runs, removed locks (tests/support/chaos.py). Prints a line per sequence and the totals; failed
# sequences stay.
#
#   bash scripts/chaos.sh /scratch/chaos [--sequences 300] [--steps 6] [--seed 1]
set -euo pipefail
cd "$(dirname "$0")/.."
folder=${1:?folder for the runs}
shift
bash scripts/setup.sh
PYTHONPATH=tests exec .venv/bin/python -m support.chaos --folder "$folder" --sequences 300 "$@"
